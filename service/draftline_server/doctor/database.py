"""Check that the service can use the database and that its contents are consistent. Read-only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import asyncpg

from ..domain.errors import DraftlineError, OutOfReachError
from ..embedded_postgres.socket_path import running_url
from ..ops import migrate
from ..options import pool_settings
from ..settings import Settings
from ..store.advisory_locks import AdvisoryLock
from ..store.change_log_maintenance import SQL as LOG
from ..store.collections.indexes import Indexes
from ..store.collections.mismatches import all_counts
from ..store.database import Database
from ..store.draft_integrity import DraftChecker
from ..store.pool import connections_of
from ..store.poolers import PoolerError
from ..store.revision import SchemaError, find_revision, read_usable_connections
from ..store.statements import load
from .results import Finding, State, fault, ok, skipped, warning

SQL = load("diagnosis")
CONNECT_S = 5.0
NOT_RUNNING = skipped(
    "database", "the embedded PostgreSQL does not run: `draftline serve` starts it, which would change it"
)
PASSWORD_MEND = "mend user and password in DRAFTLINE_DATABASE_URL, or see pg_hba.conf"
REFUSALS = {  # by SQLSTATE
    "28P01": ("refuses the password", PASSWORD_MEND),
    "28000": ("refuses this user from here", PASSWORD_MEND),
    "3D000": ("is not there, but its server is", "create the database, with ENCODING 'UTF8', or mend its name"),
    "42501": ("does not let this user connect", "GRANT CONNECT ON DATABASE to the user"),
    "53300": ("has no connection left", "raise max_connections, or lower DRAFTLINE_POOL_SIZE or DRAFTLINE_WORKERS"),
    "57P03": ("is starting, stopping or recovering", "wait, and see PostgreSQL's log if it goes on"),
}
CLOCK_FAULT = timedelta(seconds=30)  # tokens are rejected beyond this
OPEN_TOO_LONG = timedelta(minutes=10)
NAMED = 5  # names that a message lists at most
AFTERWARDS = ("schema", "privileges", "connections", "indexes", "log", "clock", "values", "drafts")


async def database(settings: Settings, now: Callable[[], datetime], *, with_drafts: bool) -> AsyncIterator[Finding]:
    """Yield the findings on the database. `with_drafts` also checks every draft, which is slow if there are many."""
    url = settings.database_url or running_url(settings.data_dir) or ""
    problem = await _connection_problem(url) if url else NOT_RUNNING
    if problem is not None and not settings.database_url:
        problem = NOT_RUNNING
    if problem is not None:
        yield problem
        for check in AFTERWARDS:
            yield skipped(check, "the database was not reached")
        return
    try:
        async with _opened(url, settings) as opened:
            async for finding in _examined(opened, settings, now, with_drafts=with_drafts):
                yield finding
    except DraftlineError as error:
        yield fault("database", f"the examination broke off: {error.message}", "see why, and run it again")
    except PoolerError as error:
        yield fault("database", *str(error).split(": ", 1))
        for check in AFTERWARDS:
            yield skipped(check, "the pooler gives no sessions")


async def _examined(
    opened: Database, settings: Settings, now: Callable[[], datetime], *, with_drafts: bool
) -> AsyncIterator[Finding]:
    found = (await opened.fetch(SQL["look_at_server"], {}))[0]
    yield _server(found, _named(opened.url))
    yield _clock(found["moment"] - now(), timedelta(seconds=settings.max_clock_skew_s))
    yield await _connections(opened, settings)
    schema = await _schema(opened)
    yield schema
    if schema.state is not State.OK:
        for check in ("privileges", "indexes", "log", "values", "drafts"):
            yield skipped(check, "the schema is another one")
        return
    yield await _privileges(opened)
    yield await _indexes(opened)
    yield await _log(opened, found["moment"])
    yield await _values(opened) if with_drafts else skipped("values", "not looked at, as asked")
    yield await _drafts(opened) if with_drafts else skipped("drafts", "not looked at, as asked")


@asynccontextmanager
async def _opened(url: str, settings: Settings) -> AsyncIterator[Database]:
    """Open the database read-only: PostgreSQL rejects every write."""
    opened = Database(url, replace(pool_settings(settings), read_only=True))
    await opened.open(checked=True)
    try:
        yield opened
    finally:
        await opened.close()


async def _connection_problem(url: str) -> Finding | None:
    place = _named(url)
    try:
        connection = await asyncpg.connect(
            url, timeout=CONNECT_S, server_settings={"application_name": "draftline doctor"}
        )
        await connection.close()
    except asyncpg.PostgresError as error:
        told, mend = REFUSALS.get(error.sqlstate or "", ("refuses the connection", "see its log for why"))
        return fault("database", f"{place} {told} (SQLSTATE {error.sqlstate})", mend)
    except (OSError, TimeoutError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no answer in time"
        return fault(
            "database", f"{place} cannot be reached: {reason}",
            "start PostgreSQL, or mend host and port in DRAFTLINE_DATABASE_URL and what is between here and there",
        )  # fmt: skip
    except (ValueError, asyncpg.InterfaceError):
        return fault(
            "database", "DRAFTLINE_DATABASE_URL cannot be understood",
            "write it as postgresql://user:password@host:5432/database, with %40 for @ in a password",
        )  # fmt: skip
    return None


def _named(url: str) -> str:
    """Return the user, host, port and database of `url`, without the password."""
    try:
        parts = urlsplit(url)
        port = parts.port or 5432
    except ValueError:
        return "the database"
    host = parts.hostname or "".join(parse_qs(parts.query).get("host", []))
    return f"{parts.username or ''}@{host}:{port}{parts.path}"


def _server(found: asyncpg.Record, place: str) -> Finding:
    if found["version_number"] < migrate.OLDEST_SERVER:
        mend = f"use PostgreSQL {migrate.OLDEST_SERVER // 10_000} or newer"
        return fault("database", f"{place} is PostgreSQL {found['version']}", mend)
    if found["encoding"] != "UTF8":
        told = f"the encoding of {place} is {found['encoding']}"
        return fault("database", told, "use one that was created with ENCODING 'UTF8'")
    if found["is_standby"]:
        told = f"{place} is a standby, which takes no writes"
        return fault("database", told, "have DRAFTLINE_DATABASE_URL lead to the primary")
    return ok("database", f"{place}, PostgreSQL {found['version']}")


def _clock(ahead: timedelta, allowed: timedelta) -> Finding:
    """Return a finding on the difference between the database's clock and this machine's."""
    off = abs(ahead)
    way = "behind" if ahead > timedelta(0) else "ahead of"
    told = f"the clock of this machine is {off.total_seconds():,.0f} s {way} the database's"
    mend = "set both by NTP (`timedatectl`); tokens and certificates go by this machine's, what is stored does not"
    if off > max(allowed, CLOCK_FAULT):
        return fault("clock", told, mend)
    return warning("clock", told, mend) if off > allowed else ok("clock", f"as the database's, to {allowed.seconds} s")


async def _connections(opened: Database, settings: Settings) -> Finding:
    wanted = settings.workers * connections_of(settings.pool_size)
    allowed = await read_usable_connections(opened)
    told = f"the service may want {wanted}, and PostgreSQL allows {allowed} to all who use it"
    if wanted <= allowed or not settings.database_url:  # the embedded server is started with enough
        return ok("connections", told)
    mend = "lower DRAFTLINE_POOL_SIZE or DRAFTLINE_WORKERS, or raise max_connections"
    return warning("connections", told, mend)


async def _schema(opened: Database) -> Finding:
    try:
        found = await find_revision(opened)
    except (SchemaError, OutOfReachError) as error:
        return fault(
            "schema", str(error), "let the user of DRAFTLINE_DATABASE_URL read it: migrate and serve as one user"
        )
    needed = migrate.head()
    if found == needed:
        return ok("schema", f"revision {found}")
    if found is None:
        return fault("schema", "the database was never migrated", "run `draftline migrate`")
    if found not in migrate.revisions():
        told = f"the database is at revision {found}, which is newer than this version of Draftline"
        return fault("schema", told, f"run the newer version, or go back with it: `draftline migrate --to {needed}`")
    return fault(
        "schema", f"the database is at revision {found}, this version needs {needed}", "run `draftline migrate`"
    )


async def _privileges(opened: Database) -> Finding:
    found = (await opened.fetch(SQL["may_keep_log"], {}))[0]
    if found["may"]:
        return ok("privileges", f"{found['name']} owns the tables")
    told = f"{found['name']} does not own the tables: indexes of declarations and partitions of the log cannot be made"
    return warning("privileges", told, "serve as the user who migrated, or as a member of that role")


async def _indexes(opened: Database) -> Finding:
    broken = [row["name"] for row in await opened.fetch(SQL["invalid_indexes"], {})]
    if broken:
        told = f"PostgreSQL does not use {_some(broken)}: invalid"
        return fault("indexes", told, f"run `REINDEX INDEX CONCURRENTLY draftline.{broken[0]}`, and so for each")
    unready = await Indexes(opened).unready()
    if not unready:
        return ok("indexes", "all that is declared is ready")
    places = [f"{name} of {collection} ({state.lower()})" for name, (collection, state) in unready.items()]
    if (await opened.fetch(SQL["is_building"], {"lock": AdvisoryLock.INDEXES}))[0]["building"]:
        return warning("indexes", f"being built: {_some(places)}", "wait; lists are exact meanwhile, and read more")
    told = f"invalid or missing, so that lists read more than they need: {_some(places)}"
    return fault("indexes", told, "restart the service, or declare the collection again: either builds them anew")


async def _log(opened: Database, moment: datetime) -> Finding:
    held = await opened.fetch(LOG["open_transactions"], {"before": moment - OPEN_TOO_LONG})
    if not held:
        return ok("log", "no transaction holds up watchers")
    told = f"open for over ten minutes, and holding up watchers: {_some([row['holder'] for row in held])}"
    mend = "end them: `SELECT pg_terminate_backend(pid)`, or for one that is prepared `ROLLBACK PREPARED`"
    return warning("log", told, mend)


async def _values(opened: Database) -> Finding:
    try:
        mistyped = [found async for found in all_counts(opened)]
    except DraftlineError as error:  # counting many records may exceed the statement timeout
        return skipped("values", f"not counted: {error.message}")
    if not mistyped:
        return ok("values", "all that declared fields hold is of their types")
    places = [
        f"{pointer} of {collection} of tenant {tenant_id} ({count:,})"
        for tenant_id, collection, pointer, count in mistyped
    ]
    return warning(
        "values", f"of another type than declared, so that comparisons and orders leave them out: {_some(places)}",
        "find the records by the filter record.mistyped = true, and mend the values or the declaration",
    )  # fmt: skip


async def _drafts(opened: Database) -> Finding:
    checker = DraftChecker(opened)
    found = [difference async for difference in checker.differences()]
    if not found:
        return ok("drafts", f"{checker.checked:,} are in step with their records")
    orphans = sum(difference.is_orphan for difference in found)
    told = (
        f"of {checker.checked:,}, {len(found) - orphans:,} differ from their edits, "
        f"and {orphans:,} are of records that are gone"
    )
    return fault(
        "drafts", told,
        "run `draftline check`, which tells which, and with --repair mends those that differ; of records that are "
        "gone, their users discard them",
    )  # fmt: skip


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
