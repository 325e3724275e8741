"""The connector to tables of a PostgreSQL database."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
from draftline.upstreams import (
    Capabilities,
    CollectionBinding,
    Outcome,
    Page,
    Refused,
    RemoteRecord,
    UnreachableError,
    UpstreamError,
    WriteItem,
)
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ..definitions import Postgres, Table
from ..endpoints_file import ConfiguredEndpoint
from ..field_mapping import FieldTranslator
from . import errors, reads, writes
from .table import InvalidTableError, ReflectedTable, reflect

KEYS_S = 7 * 86_400.0
CLEANUP_INTERVAL_S = 3_600.0
REFLECTED_S = 60.0  # until the columns of a table are read again
MAX_BATCH = 100
APPLIED = """CREATE TABLE IF NOT EXISTS {schema}.draftline_applied (
    key text PRIMARY KEY, remote_id text, at timestamptz NOT NULL DEFAULT now())"""


class PostgresUpstream:
    """A database, for one tenant. Implements `draftline.upstreams.Upstream`."""

    def __init__(
        self,
        endpoint: ConfiguredEndpoint,
        definition: Postgres,
        tenant_id: str,  # noqa: ARG002  the interface of connectors; an endpoint is a database
        bindings: Sequence[CollectionBinding],
    ) -> None:
        self._url = endpoint.secrets[definition.url_file]
        self._definition = definition
        self._bindings: dict[str, tuple[Table, FieldTranslator]] = {}
        for each in bindings:
            name = each.resource or each.collection
            if name not in definition.tables:
                raise ValueError(f"tables: there is no table {name!r}")
            self._bindings[each.collection] = (definition.tables[name], FieldTranslator(each.fields))
        self._engine: AsyncEngine | None = None
        self._reflected: dict[str, tuple[ReflectedTable, float]] = {}  # with the time
        self._cleaned_at = -math.inf

    async def close(self) -> None:
        """Close all connections."""
        if self._engine is not None:
            await self._engine.dispose()

    async def describe(self, collection: str) -> Capabilities:
        """Return what the definition of the table allows."""
        table, _ = self._bindings[collection]
        return Capabilities(
            idempotency_keys_s=KEYS_S,
            conditional_writes=True,
            client_reference=table.reference is not None or not table.generated_key,
            ordered_versions=table.version is not None,
            returns_stored=True,
            changes=table.updated is not None or table.transaction_id is not None,
            deletions_in_changes=table.deleted is not None,
            max_batch=MAX_BATCH,
            atomic_batch=True,
        )

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        """Write items in one transaction, each exactly once."""
        async with self._errors(collection):
            table = await self._table(collection)
            await self._prepare(table)
        try:
            async with asyncio.timeout(self._definition.timeout_s):
                outcomes = await writes.write(self._opened(), table, items, atomic=atomic)
        except UpstreamError:
            self._reflected.pop(collection, None)
            raise
        if any(isinstance(each, Refused) and each.reason in writes.OF_COLUMNS for each in outcomes):
            self._reflected.pop(collection, None)  # the next write sees a column that was added since
        return outcomes

    async def changes(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
        """Read changes."""
        async with self._errors(collection):
            table = await self._table(collection)
            if table.updated is None and table.transaction_id is None:
                raise UnreachableError("the table has no column for reads of changes")
            async for page in reads.changes(self._opened(), table, cursor):
                yield page

    async def snapshot(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
        """Read a snapshot."""
        async with self._errors(collection):
            table = await self._table(collection)
            async for page in reads.snapshot(self._opened(), table, cursor):
                yield page

    async def lookup(self, collection: str, remote_ids: Sequence[str]) -> Sequence[RemoteRecord]:
        """Return the current state of rows."""
        async with self._errors(collection):
            return await reads.lookup(self._opened(), await self._table(collection), remote_ids)

    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            self._engine = create_async_engine(
                "postgresql+asyncpg://",
                async_creator=self._connect,
                pool_size=self._definition.parallel,
                max_overflow=0,
                pool_timeout=self._definition.timeout_s,
                pool_pre_ping=True,
            )
        return self._engine

    async def _connect(self) -> asyncpg.Connection:
        timeout_s = self._definition.timeout_s
        return await asyncpg.connect(
            self._url.reveal(),
            timeout=timeout_s,
            command_timeout=timeout_s,
            server_settings={"application_name": "draftline upstream"},
        )

    async def _table(self, collection: str) -> ReflectedTable:
        """Return the table of a collection as the database has it."""
        known, at = self._reflected.get(collection, (None, -math.inf))
        if known is None or time.monotonic() - at > REFLECTED_S:
            definition, fields = self._bindings[collection]
            async with self._opened().connect() as connection:
                known = await reflect(connection, definition, fields)
            self._reflected[collection] = known, time.monotonic()
        return known

    async def _prepare(self, table: ReflectedTable) -> None:
        """Create the table of applied keys if it is missing, and delete old keys once in an hour."""
        if time.monotonic() - self._cleaned_at < CLEANUP_INTERVAL_S:
            return
        schema = f'"{table.definition.schema}"'
        async with self._opened().begin() as connection:
            exists = text("SELECT to_regclass(:name) IS NOT NULL")
            if not await connection.scalar(exists, {"name": f"{schema}.draftline_applied"}):
                await connection.execute(text(APPLIED.format(schema=schema)))
            old = table.applied.c.at < text(f"now() - interval '{KEYS_S:.0f} s'")
            await connection.execute(table.applied.delete().where(old))
        self._cleaned_at = time.monotonic()

    @asynccontextmanager
    async def _errors(self, collection: str) -> AsyncIterator[None]:
        """Raise errors of the database as those of the interface. Forget a table that may have changed."""
        try:
            yield
        except InvalidTableError as error:
            raise UnreachableError(str(error)) from None
        except (DBAPIError, InvalidRequestError, OSError, TimeoutError, asyncpg.PostgresError) as error:
            self._reflected.pop(collection, None)
            raise errors.of_database(error) from None
