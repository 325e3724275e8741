"""Migrate a database to a schema revision, under an advisory lock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
from alembic import command, op
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from ..domain.errors import OperatorError, OutOfReachError
from ..store.advisory_locks import AdvisoryLock
from ..store.poolers import is_pooled
from ..store.schema_problems import can_use, schema_problem, unknown_revision
from ..store.tables import SCHEMA, metadata
from ..store.time_limits import connect_unlimited
from . import revisions, schema_functions
from .migrate_errors import rejection
from .running_services import ServicesRunningError, lock_out_services, processes_text, running_services
from .schema_checks import incomplete_problem, indexes_notice, remains_problem, server_problem

Action = Callable[[Config, Connection], None]


CONNECT_S = 60.0

POLL_S = 0.5  # between two attempts at the lock that services share
CREATED_LATER = r"""
    SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = 'draftline'::regnamespace AND (
        c.relispartition OR c.relname = 'alembic_version'
        OR c.relkind IN ('r', 'p') AND c.relname ~ '_(new|old|unmatched)$'
        OR c.relkind IN ('i', 'I') AND c.relname ~ '^(record|draft)_order_[0-9a-f]{32}$')
"""  # partitions, second copies of tables during a switchover, and indexes that earlier versions built for orders
COMMENT = "SELECT obj_description(to_regclass('draftline.alembic_version'), 'pg_class')"
LOCK_TIMEOUT = "SET lock_timeout = '1s'"  # beside services, so that their statements do not queue behind a step
LOCK_NOT_AVAILABLE = "55P03"
SESSION = (
    "SET search_path TO public; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; "
    "SET standard_conforming_strings = on; SET default_transaction_isolation = 'read committed'"
)
LOCK_ATTEMPTS = 60


class MigrateError(OperatorError):
    """The database rejected a statement, or is at an unknown revision."""


@dataclass(frozen=True, slots=True)
class _Target:
    """The revision that a migration moves to; None: it stays where it is."""

    revision: str | None
    accepts_newer: bool = False  # do nothing if the schema is of a newer version that supports this one
    waits_for_services: bool = False
    report: Callable[[str], None] = lambda _: None
    notice: Callable[[str], None] = lambda _: None  # called with what an operator should know
    verify: Callable[[], Awaitable[None]] | None = None  # called under the lock of migrations, before the action
    incomplete: Callable[[str], None] | None = None  # called with what the schema lacks, instead of MigrateError


def upgrade(url: str, revision: str = "head") -> str:
    """Upgrade the database at `url` to a revision. Return the revision that it has then."""
    target = _Target(revisions.head() if revision == "head" else revision, accepts_newer=revision == "head")
    return asyncio.run(_run(url, lambda config, _: command.upgrade(config, revision), target))


def differences(url: str) -> list[object]:
    """Return the differences between the migrated database and `store/tables/`; empty if there are none."""

    found: list[object] = []

    def compare(_: Config, connection: Connection) -> None:
        created = set(connection.execute(text(CREATED_LATER)).scalars())

        def is_compared(name: str | None, kind: str, _parents: object) -> bool:
            return name == SCHEMA if kind == "schema" else name not in created

        context = MigrationContext.configure(
            connection, opts={"include_schemas": True, "compare_type": True, "include_name": is_compared}
        )
        found.extend(compare_metadata(context, metadata))

    asyncio.run(_run(url, compare))
    return found


def undone_by(url: str, revision: str) -> list[str]:
    """Return the revisions that going to `revision` undoes, the newest first; empty for an upgrade.

    Raise ValueError if the revision does not exist, and MigrateError if the database is at an unknown one.
    """
    revision = revisions.existing(revision)
    found: list[str] = []

    def read(_: Config, connection: Connection) -> None:
        current = _current(connection)
        if current is not None:
            found.extend(revisions.between(revision, current))

    asyncio.run(_run(url, read, _Target(None)))
    return found


def go_to(
    url: str,
    revision: str,
    report: Callable[[str], None] = lambda _: None,
    *,
    waits_for_services: bool = False,
    notice: Callable[[str], None] = lambda _: None,
    verify: Callable[[], Awaitable[None]] | None = None,
    incomplete: Callable[[str], None] | None = None,
) -> str:
    """Migrate up or down to a revision, and return it. `report` is called with each completed step.

    At the current revision, functions that are missing or were changed are created again, and `notice` names them, as
    well as missing indexes. If other parts of the schema are missing, raise MigrateError, or call `incomplete`.
    `verify` is called when no other migration can run and before anything is changed; what it raises ends the
    migration. Raise ValueError if the revision does not exist, MigrateError if the database is at an unknown one, and
    ServicesRunningError if services use the database, unless `waits_for_services`.
    """
    is_upgrade, known, revision = revision == "head", revisions.known(), revisions.existing(revision)

    def move(config: Config, connection: Connection) -> None:
        config.attributes["report"] = report
        current = _current(connection)
        back = revision == "base" or (current in known and known.index(current) < known.index(revision))
        (command.downgrade if back else command.upgrade)(config, revision)

    target = _Target(revision, is_upgrade, waits_for_services, report, notice, verify, incomplete)
    return asyncio.run(_run(url, move, target))


def run_script(name: str) -> None:
    """Run a file of migrations/sql, with any number of statements, in the migration's transaction."""
    _run_in_migration((revisions.FOLDER / "sql" / name).read_text())


def run_functions(*areas: str) -> None:
    """Create or replace the functions of files of migrations/functions, in the migration's transaction.

    Their bodies are not checked, so that files may call each other's functions.
    """
    for area in areas:
        _run_in_migration(
            f"SET LOCAL check_function_bodies = off; {(revisions.FOLDER / 'functions' / f'{area}.sql').read_text()}"
        )


def _run_in_migration(script: str) -> None:
    bind = op.get_bind()
    bind.exec_driver_sql("SELECT 1")  # begins the transaction; the direct call of the driver does not
    bind.connection.dbapi_connection.run_async(lambda driver: driver.execute(script))  # type: ignore[union-attr]


async def _run(url: str, action: Action, target: _Target | None = None) -> str:
    try:
        return await _migrate(url, action, target)
    except OSError as error:
        raise OutOfReachError(f"the database cannot be reached: {error}") from error
    except (asyncpg.PostgresError, DBAPIError) as error:
        raise MigrateError(rejection(error)) from error


async def _migrate(url: str, action: Action, target: _Target | None) -> str:
    await is_pooled(url, CONNECT_S)  # raises PoolerError if a pooler provides no sessions
    # The driver parses the URL, as in the service; SQLAlchemy would read some of its parameters otherwise.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: connect_unlimited(url, CONNECT_S), poolclass=NullPool
    )
    event.listen(engine.sync_engine, "connect", _set_path, insert=True)  # before SQLAlchemy queries the default schema
    try:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            _raise_if(await server_problem(connection))
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": AdvisoryLock.MIGRATION})
            await connection.execute(text("CREATE SCHEMA IF NOT EXISTS draftline"))
            beside_services = False
            if target is not None:
                current = await _revision(connection)
                if await _is_newer_but_usable(connection, current, target):
                    return current
                beside_services = await _prepare(connection, target, current)
                if target.verify is not None:
                    await target.verify()
            reached = await _act(engine, action, beside_services=beside_services)
            if target is not None and reached == target.revision == revisions.head():
                await _complete(engine, connection, target)
            return reached
    finally:
        await engine.dispose()


async def _complete(engine: AsyncEngine, connection: AsyncConnection, target: _Target) -> None:
    """Create missing and changed functions again. Raise MigrateError if anything else is missing but an index."""
    notice, problem = target.notice, await incomplete_problem(connection)
    if problem and target.incomplete is not None:
        target.incomplete(problem)
    else:
        _raise_if(problem)
    repaired = await schema_functions.repair(engine)
    if repaired:
        notice(f"functions created again, as they were missing or changed: {', '.join(repaired)}")
    missing = await indexes_notice(connection)
    if missing:
        notice(missing)


async def _act(engine: AsyncEngine, action: Action, *, beside_services: bool) -> str:
    """Run the action on a connection of its own; beside services, try again if it would have to wait for a lock."""
    for attempt in range(1, LOCK_ATTEMPTS + 1):
        try:
            async with engine.connect() as worker:
                if beside_services:
                    await worker.execute(text(LOCK_TIMEOUT))
                    await worker.commit()
                await worker.run_sync(_call, action)
                await worker.commit()
                return await _revision(worker)
        except (asyncpg.PostgresError, DBAPIError) as error:
            sqlstate = getattr(getattr(error, "orig", None) or error, "sqlstate", None)
            if not beside_services or sqlstate != LOCK_NOT_AVAILABLE or attempt == LOCK_ATTEMPTS:
                raise
            await asyncio.sleep(POLL_S)
    raise AssertionError("unreachable")


async def _is_newer_but_usable(connection: AsyncConnection, current: str, target: _Target) -> bool:
    """Return whether the schema is of a newer version that supports this one, so that there is nothing to upgrade."""
    known = revisions.known()
    comment = (await connection.execute(text(COMMENT))).scalar_one()
    return target.accepts_newer and current not in ("base", *known) and can_use(current, comment, known[0])


async def _prepare(connection: AsyncConnection, target: _Target, current: str) -> bool:
    """Check that the database can move to its target. Return whether services may run meanwhile.

    Otherwise keep services away until the connection is closed.
    """
    known = revisions.known()
    if current != "base" and current not in known:
        raise MigrateError(schema_problem(current, known[0]))
    if current == "base":
        _raise_if(await remains_problem(connection))
    if target.revision is None or target.revision == current:
        return False
    await _check_partition_switch(connection)
    reported = False
    while not await lock_out_services(connection):
        holders = await running_services(connection)
        if holders and all(revisions.can_live_with(needed, current, target.revision) for _, needed in holders):
            return True
        if not target.waits_for_services:
            raise ServicesRunningError([pid for pid, _ in holders])
        if not reported:
            target.report(f"waiting until {processes_text([pid for pid, _ in holders])} of the service have ended")
        reported = True
        await asyncio.sleep(POLL_S)
    return False


async def _check_partition_switch(connection: AsyncConnection) -> None:
    """Raise MigrateError if a second copy of the tables exists, which a migration would not change."""
    if (await connection.execute(text("SELECT to_regclass('draftline.partition_switch')"))).scalar_one() is None:
        return
    phase = (await connection.execute(text("SELECT phase FROM draftline.partition_switch"))).scalar_one_or_none()
    if phase not in (None, "DONE"):
        raise MigrateError(
            f"a switchover to partitioned tables is under way (phase {phase}): complete it, or end it by `draftline "
            "partitions cleanup`, before the schema changes"
        )
    copied = "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgname ~ '_to_own_insert$')"
    if (await connection.execute(text(copied))).scalar_one():
        raise MigrateError(
            "the promotion of a tenant was interrupted: run `draftline partitions promote` again, or `draftline "
            "partitions cleanup`, before the schema changes"
        )


def _set_path(connection: Any, _: object) -> None:
    """Set the search path to public. Otherwise a user named like the schema would have it as the default schema.

    The time limits of the role or the database are those of its other sessions; a step may take longer. Their settings
    of strings and transactions could change the effect of a step. These are statements and not startup parameters,
    which a pooler would reject.
    """
    connection.run_async(lambda driver: driver.execute(SESSION))


def _raise_if(problem: str) -> None:
    if problem:
        raise MigrateError(problem)


def _call(connection: Connection, action: Action) -> None:
    config = Config()
    config.set_main_option("script_location", str(revisions.FOLDER))
    config.attributes["connection"] = connection
    action(config, connection)


async def _revision(connection: AsyncConnection) -> str:
    return await connection.run_sync(_current) or "base"


def _current(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    heads = context.get_current_heads()
    if len(heads) > 1:
        raise MigrateError(unknown_revision(list(heads), connection.execute(text(COMMENT)).scalar_one()))
    return heads[0] if heads else None
