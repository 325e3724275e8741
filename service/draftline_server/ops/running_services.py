"""The services that run on a database, by the advisory locks that they share."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ..domain.errors import OperatorError
from ..store.advisory_locks import AdvisoryLock, LockFamily

TRY_LOCK = "SELECT pg_try_advisory_lock(:key)"
# The processes that share the lock of services, and the revision that each needs; null: an old version does not tell.
HOLDERS = """
SELECT service.pid, lpad(CAST(revision.objid AS text), 4, '0') AS revision
FROM pg_locks AS service
LEFT JOIN pg_locks AS revision
  ON revision.pid = service.pid AND revision.locktype = 'advisory' AND revision.granted AND revision.objsubid = 2
  AND CAST(revision.classid AS bigint) = CAST(:family AS bigint)
WHERE service.locktype = 'advisory' AND service.granted AND service.objsubid = 1
  AND service.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (CAST(service.classid AS bigint) << 32) + CAST(service.objid AS bigint) = CAST(:key AS bigint)
ORDER BY service.pid
"""


class ServicesRunningError(OperatorError):
    """Services run on the database, which cannot live with another schema."""

    def __init__(self, pids: Sequence[int]) -> None:
        super().__init__(
            f"{processes_text(pids)} of the service use this database and need its present schema: stop them first, or "
            "pass --wait to migrate once they have ended"
        )


async def lock_out_services(connection: AsyncConnection) -> bool:
    """Keep services away until the connection is closed. Return False if some run."""
    return bool((await connection.execute(text(TRY_LOCK), {"key": AdvisoryLock.SERVICE})).scalar_one())


async def running_services(connection: AsyncConnection) -> list[tuple[int, str | None]]:
    """Return the process id of each service's connection, and the revision that it needs; None: it does not tell."""
    keys = {"key": AdvisoryLock.SERVICE, "family": LockFamily.SERVICE_REVISION}
    return [(row.pid, row.revision) for row in await connection.execute(text(HOLDERS), keys)]


def processes_text(pids: Sequence[int]) -> str:
    listed = ", ".join(map(str, pids))
    return f"{len(pids)} process{'es' * (len(pids) != 1)} (PostgreSQL's pid {listed})"
