"""How many statements PostgreSQL gets for a call, by its own log."""

from __future__ import annotations

import re
import time

from draftline import Client

from .loads import Load
from .records import record_id
from .stand import Stand

CALLS = 100
# BEGIN and COMMIT count, for they are sent. What is sent by the clock does not: whether the database is there, and to
# watchers that there are changes, of all the calls of a moment in one.
LOGGED = re.compile(rb"LOG:  (?:execute [^:]+|statement): (?!SELECT 1$|/\* notify \*/)", re.MULTILINE)


def statements_per_patch(stand: Stand, load: Load, **settings: object) -> float:
    """Of PatchContent, one call at a time, by a server with these settings."""
    log_path = stand.postgres.log_path
    with (
        # What a connection's URL says beyond what is known, is a setting of PostgreSQL for that connection.
        stand.another(database_url=f"{stand.url}&log_statement=all", **settings) as server,
        Client(server.address, tenant_id=load.tenant_id, token=load.token) as client,
    ):
        client.patch_content(load.collection, record_id(0), {"Number": 0})  # the first has the declaration to read
        before = log_path.stat().st_size
        for number in range(CALLS):
            client.patch_content(load.collection, record_id(number % load.records), {"Number": time.time_ns()})
    with log_path.open("rb") as log:
        log.seek(before)
        return len(LOGGED.findall(log.read())) / CALLS
