"""Count the statements that PostgreSQL receives for a call, from its own log."""

from __future__ import annotations

import os
import re
import time

from draftline import Client

from .environment import Environment
from .load_generators import Load
from .records import record_id

CALLS = 100
# BEGIN and COMMIT count, because they are sent.
LOGGED = re.compile(rb"LOG:  (?:execute [^:]+|statement): ", re.MULTILINE)


def statements_per_patch(environment: Environment, load: Load, **settings: object) -> float:
    """Return the number of statements per PatchContent, one call at a time, on a server with these settings.

    It is the least of all calls: statements of background tasks are in the log too, the more the slower calls are.
    """
    log_path = environment.postgres.log_path
    url = f"{environment.url}&options=-c%20log_statement=all"
    with (
        environment.start_server(database_url=url, **settings) as server,
        Client(server.address, tenant_id=load.tenant_id, token=load.token) as client,
    ):
        client.patch_content(load.collection, record_id(0), {"Number": 0})  # the first call reads the collection spec
        counts = []
        with log_path.open("rb") as log:
            for number in range(CALLS):
                log.seek(0, os.SEEK_END)
                client.patch_content(load.collection, record_id(number % load.records), {"Number": time.time_ns()})
                counts.append(len(LOGGED.findall(log.read())))
    return min(counts)
