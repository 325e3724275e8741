"""A probe that asks the database whether it answers."""

from __future__ import annotations

import asyncpg

from .advisory_locks import AdvisoryLock, LockFamily
from .clock import DatabaseClock
from .schema_problems import SchemaMovedError, can_use, schema_problem
from .time_limits import without_limits

REGISTER = "/* register_service */ SELECT pg_try_advisory_lock_shared($1)"
REGISTER_REVISION = "/* register_service */ SELECT pg_advisory_lock_shared($1::integer, $2::integer)"
REVISION = """/* probe_revision */ SELECT version_num, obj_description(tableoid, 'pg_class') AS comment,
    current_setting('transaction_read_only')::boolean AS is_read_only, pg_is_in_recovery() AS is_standby
FROM draftline.alembic_version"""
STANDBY = "the database is a standby, and writes fail: correct the host in DRAFTLINE_DATABASE_URL, or promote it"
READ_ONLY = (
    "transactions of the database are read-only by default, and writes fail: reset default_transaction_read_only of "
    "the database, the role or postgresql.conf"
)


class Ping:
    """The probe of one process. It has a connection of its own, because a busy pool does not mean an outage.

    The connection registers the process as a running service: it shares AdvisoryLock.SERVICE, which a migration takes
    exclusively, or only if this process cannot use the new schema. `needed_revision` is the schema revision that each
    probe expects, or a newer one that supports it; None: any.
    """

    def __init__(self, url: str, clock: DatabaseClock, timeout_s: float) -> None:
        self._url = url
        self._clock = clock
        self._timeout_s = timeout_s
        self.needed_revision: str | None = None
        self.read_only_reason = ""  # why the database takes no writes, as of the last probe; empty if it does
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def send(self) -> None:
        """Raise an error of the driver unless the database answers in time, or SchemaMovedError."""
        try:
            if self._connection is None or self._connection.is_closed():
                settings = {"application_name": "draftline health"}
                self._connection = await asyncpg.connect(self._url, timeout=self._timeout_s, server_settings=settings)
                await without_limits(self._connection)
                if self.needed_revision is not None:
                    await self._register(self._connection, self.needed_revision)
            await self._clock.read(self._connection, self._timeout_s)
            if self.needed_revision is not None:
                await self._check_revision(self._connection, self.needed_revision)
            if self.read_only_reason == READ_ONLY:  # a session keeps its defaults: the next probe needs a new one
                self.close()
        except BaseException:
            self.close()
            raise

    async def _register(self, connection: asyncpg.Connection[asyncpg.Record], needed: str) -> None:
        if not await connection.fetchval(REGISTER, int(AdvisoryLock.SERVICE), timeout=self._timeout_s):
            raise SchemaMovedError("the database is being migrated")
        keys = int(LockFamily.SERVICE_REVISION), int(needed)
        await connection.fetchval(REGISTER_REVISION, *keys, timeout=self._timeout_s)

    async def _check_revision(self, connection: asyncpg.Connection[asyncpg.Record], needed: str) -> None:
        try:
            found = await connection.fetchrow(REVISION, timeout=self._timeout_s)
        except asyncpg.UndefinedTableError:
            found = None
        revision, comment = (found["version_num"], found["comment"]) if found else (None, None)
        if found:
            self.read_only_reason = STANDBY if found["is_standby"] else READ_ONLY if found["is_read_only"] else ""
        if not can_use(revision, comment, needed):
            raise SchemaMovedError(f"the schema changed while the service runs: {schema_problem(revision, needed)}")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
