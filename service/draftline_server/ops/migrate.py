"""Migrate a database to a schema revision, under an advisory lock."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command, op
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from ..domain.errors import OperatorError, OutOfReachError
from ..embedded_postgres.server import EmbeddedPostgres
from ..store.advisory_locks import AdvisoryLock
from ..store.connect_errors import connect
from ..store.poolers import is_pooled
from ..store.tables import SCHEMA, metadata
from .resources import shipped

Action = Callable[[Config, Connection], None]

FOLDER = shipped("migrations")

CONNECT_S = 60.0
OLDEST_SERVER = 150_000  # as in server_version_num


class MigrateError(OperatorError):
    """The database rejected a statement; the message is its error."""


def head() -> str:
    """Return the revision that this version of the service needs."""
    return str(ScriptDirectory(str(FOLDER)).get_current_head())


def revisions() -> list[str]:
    """Return the revisions that this version knows, the newest first."""
    return [entry.revision for entry in ScriptDirectory(str(FOLDER)).walk_revisions("base", "heads")]


def upgrade(url: str, revision: str = "head") -> str:
    """Upgrade the database at `url` to a revision. Return the revision that it has then."""
    return asyncio.run(_run(url, lambda config, _: command.upgrade(config, revision)))


def differences(url: str) -> list[object]:
    """Return the differences between the migrated database and `store/tables.py`; empty if there are none."""

    found: list[object] = []

    def compare(_: Config, connection: Connection) -> None:
        context = MigrationContext.configure(
            connection, opts={"include_schemas": True, "compare_type": True, "include_name": _ours}
        )
        found.extend(compare_metadata(context, metadata))

    asyncio.run(_run(url, compare))
    return found


def go_to(url: str, revision: str, report: Callable[[str], None] = lambda _: None) -> str:
    """Migrate up or down to a revision, and return it. `report` is called with each completed step.

    Raise ValueError if the revision does not exist.
    """
    known = revisions()
    revision = known[0] if revision == "head" else revision
    if revision != "base" and revision not in known:
        raise ValueError(f"there is no revision {revision}; the revisions are {', '.join(reversed(known))}")

    def move(config: Config, connection: Connection) -> None:
        config.attributes["report"] = report
        current = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA}).get_current_revision()
        back = revision == "base" or (current in known and known.index(current) < known.index(revision))
        (command.downgrade if back else command.upgrade)(config, revision)

    return asyncio.run(_run(url, move))


def check_in_scratch(binaries: Path | None) -> list[object]:
    """Migrate an empty database and return its differences from `store/tables.py`."""
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder) / "pg", durable=False, binaries=binaries) as postgres,
    ):
        upgrade(postgres.url)
        return differences(postgres.url)


def run_script(name: str) -> None:
    """Run a file of migrations/sql, with any number of statements, in the migration's transaction."""
    _run_in_migration((FOLDER / "sql" / name).read_text())


def run_functions(*areas: str) -> None:
    """Create or replace the functions of files of migrations/functions, in the migration's transaction.

    Their bodies are not checked, so that files may call each other's functions.
    """
    for area in areas:
        _run_in_migration(
            f"SET LOCAL check_function_bodies = off; {(FOLDER / 'functions' / f'{area}.sql').read_text()}"
        )


def _run_in_migration(script: str) -> None:
    bind = op.get_bind()
    bind.exec_driver_sql("SELECT 1")  # begins the transaction; the direct call of the driver does not
    bind.connection.dbapi_connection.run_async(lambda driver: driver.execute(script))  # type: ignore[union-attr]


def _ours(name: str | None, kind: str, _parents: object) -> bool:
    if kind == "schema":
        return name == SCHEMA
    # Partitions of the log are created and dropped at run time.
    return not (
        kind == "table"
        and name is not None
        and (name == "alembic_version" or name.startswith("change_2") or name == "change_default")
    )


async def _run(url: str, action: Action) -> str:
    try:
        return await _migrate(url, action)
    except OSError as error:
        raise OutOfReachError(f"the database cannot be reached: {error}") from error
    except (asyncpg.PostgresError, DBAPIError) as error:
        message = getattr(error, "orig", None) or error
        raise MigrateError(f"the database rejects the migration: {message}") from error


async def _migrate(url: str, action: Action) -> str:
    await is_pooled(url, CONNECT_S)  # raises PoolerError if a pooler provides no sessions
    # The driver parses the URL, as in the service; SQLAlchemy would read some of its parameters otherwise.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: connect(url, CONNECT_S), poolclass=NullPool
    )
    event.listen(engine.sync_engine, "connect", _set_path, insert=True)  # before SQLAlchemy queries the default schema
    try:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await _check_server(connection)
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": AdvisoryLock.MIGRATION})
            await connection.execute(text("CREATE SCHEMA IF NOT EXISTS draftline"))
            async with engine.connect() as worker:
                await worker.run_sync(_call, action)
                await worker.commit()
                return await _revision(worker)
    finally:
        await engine.dispose()


def _set_path(connection: Any, _: object) -> None:
    """Set the search path to public. Otherwise a user named like the schema would have it as the default schema.

    This is a statement and not a startup parameter, which a pooler would reject.
    """
    connection.run_async(lambda driver: driver.execute("SET search_path TO public"))


async def _check_server(connection: AsyncConnection) -> None:
    found = "SELECT current_setting('server_version_num')::int, current_setting('server_encoding')"
    version, encoding = (await connection.execute(text(found))).one()
    if version < OLDEST_SERVER:
        raise ValueError(f"this is PostgreSQL {version // 10_000}, Draftline needs {OLDEST_SERVER // 10_000} or newer")
    if encoding != "UTF8":
        raise ValueError(f"the database's encoding is {encoding}, Draftline needs one created with ENCODING 'UTF8'")


def _call(connection: Connection, action: Action) -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    action(config, connection)


async def _revision(connection: AsyncConnection) -> str:
    def current(sync: Connection) -> str | None:
        return MigrationContext.configure(sync, opts={"version_table_schema": SCHEMA}).get_current_revision()

    return await connection.run_sync(current) or "base"
