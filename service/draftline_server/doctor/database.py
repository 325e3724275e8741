"""Check that the service can use the database and that its contents are consistent. Read-only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import asyncpg

from ..domain.errors import DraftlineError, OutOfReachError, StorageFullError
from ..embedded_postgres.socket_path import running_url
from ..settings import Settings
from ..settings.database_url import described
from ..store.change_log_maintenance import SQL as LOG
from ..store.collections.mismatches import all_counts
from ..store.collections.tallies import FOLD_ROWS, MAX_GROUPS
from ..store.connect_errors import connect
from ..store.database import Database
from ..store.draft_integrity import DraftChecker
from ..store.driver_errors import UnforeseenError
from ..store.pool_settings import connections_of
from ..store.poolers import PoolerError
from ..store.revision import CONNECTIONS_FIX, INSUFFICIENT_PRIVILEGE, PRIVILEGES_FIX, read_usable_connections
from ..store.schema_problems import wrong_server
from ..store.statements import load
from ..store.transaction import Transaction
from ..wiring import pool_settings
from . import schema
from . import storage as doctor_storage
from . import syncs as doctor_syncs
from .failures import DEFAULT_FIX, fault_of, fix_of
from .results import Finding, State, fault, ok, skipped, warning

SQL = load("diagnosis")
ORDERS = load("orders")
STATISTICS = load("statistics")
CONNECT_S = 5.0
NOT_RUNNING = skipped("database", "the embedded PostgreSQL is not running, and the doctor does not start it")
CLOCK_FAULT = timedelta(seconds=30)  # tokens are rejected beyond this
OPEN_TOO_LONG = timedelta(minutes=10)
UNFOLDED_S = 300.0
NAMED = 5  # names that a message lists at most
DEPENDENT_CHECKS = (
    "disk",
    "schema",
    "privileges",
    "connections",
    "indexes",
    "log",
    "clock",
    "statistics",
    "storage",
    "tenants",
    "syncs",
    "values",
    "drafts",
)

AFTER_PRIVILEGES = DEPENDENT_CHECKS[DEPENDENT_CHECKS.index("indexes") :]


async def database(settings: Settings, now: Callable[[], datetime], *, with_drafts: bool) -> AsyncIterator[Finding]:
    """Yield the findings on the database. `with_drafts` also checks every draft, which is slow if there are many."""
    url = settings.database.url or running_url(settings.database.data_dir) or ""
    problem = await _connection_problem(url) if url else NOT_RUNNING
    if problem is not None and not settings.database.url:
        problem = NOT_RUNNING
    if problem is not None:
        yield problem
        for check in DEPENDENT_CHECKS:
            yield skipped(check, "the database cannot be used")
        return
    try:
        async with _opened(url, settings) as opened:
            async for finding in _examined(opened, settings, now, with_drafts=with_drafts):
                yield finding
    except UnforeseenError as error:
        if error.sqlstate == INSUFFICIENT_PRIVILEGE:
            yield fault("privileges", "the role of DRAFTLINE_DATABASE_URL may not read all tables", PRIVILEGES_FIX)
        else:
            message = f"PostgreSQL rejects a statement of the doctor (SQLSTATE {error.sqlstate})"
            yield fault("database", message, DEFAULT_FIX)
    except DraftlineError as error:
        yield fault("database", f"the examination failed: {error.message}", fix_of(error))
    except OutOfReachError as error:
        yield fault("database", str(error), error.fix)
        for check in DEPENDENT_CHECKS:
            yield skipped(check, "the database cannot be used")
    except PoolerError as error:
        yield fault_of("database", error)
        for check in DEPENDENT_CHECKS:
            yield skipped(check, "the pooler does not provide sessions")


async def _examined(
    opened: Database, settings: Settings, now: Callable[[], datetime], *, with_drafts: bool
) -> AsyncIterator[Finding]:
    found = (await opened.fetch(SQL["look_at_server"], {}))[0]
    yield _server(found, described(opened.url))
    yield _clock(found["moment"] - now(), timedelta(seconds=settings.database.max_clock_skew_s))
    yield await _disk(opened)
    yield await _connections(opened, settings)
    revision = await schema.revision(opened)
    yield revision
    if revision.state is not State.OK:
        for check in ("privileges", *AFTER_PRIVILEGES):
            yield skipped(check, "the schema has another revision")
        return
    privileges = await schema.privileges(opened)
    yield privileges
    if privileges.state is State.FAULT:
        for check in AFTER_PRIVILEGES:
            yield skipped(check, "the role may not use the schema")
        return
    yield await _indexes(opened)
    yield await _log(opened, found["moment"])
    yield await _statistics(opened)
    async for finding in doctor_storage.storage(opened):
        yield finding
    async for finding in doctor_syncs.syncs(opened, settings):
        yield finding
    yield await _values(opened) if with_drafts else skipped("values", "not checked (--quick)")
    yield await _drafts(opened) if with_drafts else skipped("drafts", "not checked (--quick)")


@asynccontextmanager
async def _opened(url: str, settings: Settings) -> AsyncIterator[Database]:
    """Open the database read-only: PostgreSQL rejects every write."""
    opened = Database(url, replace(pool_settings(settings.database), read_only=True))
    await opened.open(checked=True)
    try:
        yield opened
    finally:
        await opened.close()


async def _connection_problem(url: str) -> Finding | None:
    try:
        connection = await connect(url, CONNECT_S, server_settings={"application_name": "draftline doctor"})
    except OutOfReachError as error:
        return fault("database", str(error).replace("the database", described(url), 1), error.fix)
    try:
        read_only = await connection.fetchval(SQL["is_read_only"].sql, timeout=CONNECT_S)
    except (asyncpg.PostgresError, OSError):
        return None  # the examination reports it
    finally:
        connection.terminate()
    if not read_only:
        return None
    fix = "reset default_transaction_read_only of the database, the role or postgresql.conf"
    return fault("database", f"transactions of {described(url)} are read-only by default, and writes fail", fix)


def _server(found: asyncpg.Record, name: str) -> Finding:
    problem = wrong_server(found["version_number"], found["version"], found["encoding"])
    if problem:
        message, _, fix = problem.partition(": ")
        return fault("database", message.replace("the database", name).replace("the server", name), fix)
    if found["has_triggers_disabled"]:
        message = f"sessions in {name} run no triggers, which switchovers to partitioned tables need"
        return fault("database", message, "reset session_replication_role of the role, the database or postgresql.conf")
    if found["is_standby"]:
        message = f"{name} is a read-only standby"
        return fault("database", message, "point DRAFTLINE_DATABASE_URL at the primary")
    return ok("database", f"{name}, PostgreSQL {found['version']}")


def _clock(ahead: timedelta, allowed: timedelta) -> Finding:
    """Return a finding on the difference between the database's clock and this machine's."""
    off = abs(ahead)
    way = "behind" if ahead > timedelta(0) else "ahead of"
    message = f"the clock of this machine is {off.total_seconds():,.0f} s {way} the database's"
    fix = "synchronize both by NTP (`timedatectl`); this machine's clock decides when tokens and certificates expire"
    if off > max(allowed, CLOCK_FAULT):
        return fault("clock", message, fix)
    if off > allowed:
        return warning("clock", message, fix)
    return ok("clock", f"within {allowed.seconds} s of the database's")


async def _disk(opened: Database) -> Finding:
    """Have PostgreSQL write a temporary file, which a read-only session may do."""

    async def fill(transaction: Transaction) -> None:
        await transaction.fetch(SQL["use_little_memory"], {})
        await transaction.fetch(SQL["fill_temporary_file"], {})

    try:
        await opened.transact(fill)
    except StorageFullError:
        message = "full: PostgreSQL cannot write a temporary file of 16 MiB (SQLSTATE 53100), and writes fail"
        fix = "free space on the disk of PostgreSQL (docs/operations.md, DraftlineStorageFull)"
        return fault("disk", message, fix)
    except DraftlineError as error:  # temp_file_limit may be lower
        return skipped("disk", f"not tried: {error.message}")
    return ok("disk", "PostgreSQL has room for a temporary file of 16 MiB")


async def _connections(opened: Database, settings: Settings) -> Finding:
    wanted = settings.server.workers * connections_of(settings.database.pool_size)
    allowed = await read_usable_connections(opened)
    message = f"the service may open {wanted}, and PostgreSQL allows {allowed} in total"
    if wanted <= allowed or not settings.database.url:  # the embedded server always allows enough
        return ok("connections", message)
    return warning("connections", message, CONNECTIONS_FIX)


async def _indexes(opened: Database) -> Finding:
    broken = [row["name"] for row in await opened.fetch(SQL["invalid_indexes"], {})]
    if broken:
        fix = f"run `REINDEX INDEX CONCURRENTLY draftline.{broken[0]}`, likewise for each"
        return fault("indexes", f"invalid, so PostgreSQL does not use them: {_some(broken)}", fix)
    unready = await opened.fetch(ORDERS["unready_orders"], {})
    building = [f"{row['orders']} of {row['collection']}" for row in unready if row["state"] == "BUILDING"]
    if not building:
        return ok("indexes", "the entries of all declared orders are complete")
    if (await opened.fetch(SQL["is_served"], {}))[0]["served"]:
        message = f"entries of orders are being built: {_some(building)}"
        return warning("indexes", message, "wait; until then, lists are exact but slower")
    message = f"entries of orders are incomplete, so lists are slower: {_some(building)}"
    return fault("indexes", message, "start the service, which completes them")


async def _log(opened: Database, now: datetime) -> Finding:
    held = await opened.fetch(LOG["open_transactions"], {"before": now - OPEN_TOO_LONG})
    if not held:
        return ok("log", "no transaction blocks the change feed")
    message = f"open for over ten minutes and blocking the change feed: {_some([row['holder'] for row in held])}"
    fix = "end them by `SELECT pg_terminate_backend(pid)`, or `ROLLBACK PREPARED` for a prepared transaction"
    return warning("log", message, fix)


async def _statistics(opened: Database) -> Finding:
    unready = await opened.fetch(STATISTICS["unready_statistics"], {})
    rows = await opened.fetch(STATISTICS["unfolded_statistics"], {"limit": FOLD_ROWS + 1})
    building = [_statistic_name(row) for row in unready if row["state"] == "BUILDING"]
    invalid = [_statistic_name(row) for row in rows if row["state"] == "INVALID"]
    grown = [_statistic_name(row) for row in rows if row["state"] == "READY" and row["group_count"] > MAX_GROUPS]
    unfolded = [_statistic_name(row) for row in rows if row["rows"] > FOLD_ROWS and row["age_s"] > UNFOLDED_S]
    is_served = not (building or unfolded) or (await opened.fetch(SQL["is_served"], {}))[0]["served"]
    if building:
        message = f"statistics are being built: {_some(building)}"
        fix = "wait; until then, queries that need them fail or read all records"
        if is_served:
            return warning("statistics", message, fix)
        return fault("statistics", f"not built: {_some(building)}", "start the service, which builds them")
    if unfolded:
        message = f"rows are not folded, so answers are exact but slower: {_some(unfolded)}"
        fix = "look for tallies_failed in the log" if is_served else "start the service, which folds them"
        return warning("statistics", message, fix)
    if invalid:
        fix = "declare coarser groups, such as months instead of days, or range_by; until then they are not in use"
        return warning("statistics", f"of more than {MAX_GROUPS:,} groups: {_some(invalid)}", fix)
    if grown:
        message = f"of more than {MAX_GROUPS:,} groups since they were built: {_some(grown)}"
        return warning("statistics", message, "declare coarser groups or range_by; answers are exact, but slower")
    return ok("statistics", "all that are declared are built and folded")


def _statistic_name(row: asyncpg.Record) -> str:
    return f"{row['name']!r} of {row['collection']} of tenant {row['tenant_id']}"


async def _values(opened: Database) -> Finding:
    try:
        mistyped = [found async for found in all_counts(opened)]
    except DraftlineError as error:  # counting many records may exceed the statement timeout
        return skipped("values", f"not counted: {error.message}")
    if not mistyped:
        return ok("values", "all values of declared fields have the declared types")
    fields = [
        f"{pointer} of {collection} of tenant {tenant_id} ({count:,})"
        for tenant_id, collection, pointer, count in mistyped
    ]
    return warning(
        "values", f"not of the declared type, so comparisons and orders skip them: {_some(fields)}",
        "find the records with the filter record.mistyped = true, and correct the values or the collection spec",
    )  # fmt: skip


async def _drafts(opened: Database) -> Finding:
    checker = DraftChecker(opened)
    found = [difference async for difference in checker.differences()]
    if not found:
        return ok("drafts", f"{checker.checked:,} are consistent with their records")
    orphans = sum(difference.is_orphan for difference in found)
    message = (
        f"of {checker.checked:,}, {len(found) - orphans:,} differ from their edits, and {orphans:,} have no record"
    )
    return fault(
        "drafts", message,
        "run `draftline check` to list them, and with --repair to repair those that differ; drafts without a record "
        "must be discarded by their users",
    )  # fmt: skip


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
