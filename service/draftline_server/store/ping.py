"""A probe that asks the database whether it answers."""

from __future__ import annotations

import asyncpg

from .advisory_locks import AdvisoryLock, LockFamily
from .clock import DatabaseClock
from .schema_problems import SchemaMovedError, can_use, schema_problem

REGISTER = "/* register_service */ SELECT pg_try_advisory_lock_shared($1)"
REGISTER_REVISION = "/* register_service */ SELECT pg_advisory_lock_shared($1::integer, $2::integer)"
REVISION = """/* probe_revision */ SELECT version_num, obj_description(tableoid, 'pg_class') AS comment
FROM draftline.alembic_version"""


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
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def send(self) -> None:
        """Raise an error of the driver unless the database answers in time, or SchemaMovedError."""
        try:
            if self._connection is None or self._connection.is_closed():
                settings = {"application_name": "draftline health"}
                self._connection = await asyncpg.connect(self._url, timeout=self._timeout_s, server_settings=settings)
                if self.needed_revision is not None:
                    await self._register(self._connection, self.needed_revision)
            await self._clock.read(self._connection, self._timeout_s)
            if self.needed_revision is not None:
                await self._check_revision(self._connection, self.needed_revision)
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
        revision, comment = found if found else (None, None)
        if not can_use(revision, comment, needed):
            raise SchemaMovedError(f"the schema changed while the service runs: {schema_problem(revision, needed)}")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
