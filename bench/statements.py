"""Count the statements that PostgreSQL receives for a call, from its own log."""

from __future__ import annotations

import re
import time

from draftline import Client

from .environment import Environment
from .load_generators import Load
from .records import record_id

CALLS = 100
# BEGIN and COMMIT count, because they are sent. Periodic statements do not: the check that the database is reachable,
# and the notification of watchers, which is one for all calls of an interval.
LOGGED = re.compile(rb"LOG:  (?:execute [^:]+|statement): (?!SELECT 1$|/\* notify \*/)", re.MULTILINE)


def statements_per_patch(environment: Environment, load: Load, **settings: object) -> float:
    """Return the number of statements per PatchContent, one call at a time, on a server with these settings."""
    log_path = environment.postgres.log_path
    url = f"{environment.url}&options=-c%20log_statement=all"
    with (
        environment.start_server(database_url=url, **settings) as server,
        Client(server.address, tenant_id=load.tenant_id, token=load.token) as client,
    ):
        client.patch_content(load.collection, record_id(0), {"Number": 0})  # the first call reads the collection spec
        before = log_path.stat().st_size
        for number in range(CALLS):
            client.patch_content(load.collection, record_id(number % load.records), {"Number": time.time_ns()})
    with log_path.open("rb") as log:
        log.seek(before)
        return len(LOGGED.findall(log.read())) / CALLS
