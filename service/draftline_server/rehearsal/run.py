"""Rehearse a migration: copy the database, migrate the copy, measure, compare and check."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar

import asyncpg

from ..ops import migrate, revisions
from ..partitions.switch_state import check_no_switchover
from ..settings import Settings
from ..store.poolers import is_pooled
from ..store.rejections import fix_of_sqlstate
from ..store.schema_problems import schema_problem
from .copying import copy_schema
from .progress import Progress
from .report import Report, now
from .schema import digest_of, digests, read_declared_objects, read_objects, scripts_digest
from .scratch import Scratch, drop_copies, empty_again, empty_kept, rehearsal_lock, scratch_beside, scratch_in
from .sessions import CONNECT_S, RehearsalError, fetch, fetch_row, read_revision, session
from .trial import NAMED, Trial, reason

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


@dataclass(frozen=True, slots=True)
class Options:
    """The choices of a rehearsal. `into` is the URL of an empty database; None: a new one on the same server."""

    revision: str = "head"
    into: str | None = None
    longest_lock_s: float = 1.0
    keep: bool = False


def run(settings: Settings, url: str, options: Options, progress: Progress) -> Report:
    """Rehearse as `rehearse` does, in blocking code. A signal that ends the process removes the copy first."""
    return asyncio.run(until_signal(rehearse(settings, url, options, progress)))


def drop_all(url: str, into: str | None) -> list[str]:
    """Remove the copies that rehearsals of the database at `url` left or kept, and the one in `into`.

    Return the names of the databases.
    """

    async def drop() -> list[str]:
        try:
            async with session(url) as connection, rehearsal_lock(connection):
                dropped = await drop_copies(connection, Progress())
            return [*dropped, *(await empty_kept(into, Progress()) if into else [])]
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise RehearsalError(f"the copies cannot be dropped: {reason(error)}") from error

    return asyncio.run(drop())


async def until_signal(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`. On the first signal to end, cancel it and raise RehearsalError; ignore others."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def cancel(number: int) -> None:
        if not received:
            task.cancel()
        received.append(number)

    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            loop.add_signal_handler(number, cancel, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        raise RehearsalError(
            f"the rehearsal was ended by {signal.Signals(received[0]).name}: the database is unchanged, and the copy "
            "was removed"
        ) from None


async def rehearse(settings: Settings, url: str, options: Options, progress: Progress) -> Report:
    """Rehearse the migration of the database at `url`, and return the report.

    The database at `url` is only read. Raise RehearsalError if the rehearsal cannot be made; a migration that fails is
    reported.
    """
    target = revisions.existing(options.revision)
    await is_pooled(url, CONNECT_S)
    async with session(url) as source, rehearsal_lock(source):
        report = await describe(source, target)
        report.longest_lock_s = options.longest_lock_s
        try:
            context = scratch_in(options.into, progress) if options.into else scratch_beside(source, url, progress)
            async with context as scratch:
                reference = await _reference(scratch, report, progress)
                async with session(scratch.url) as copy:
                    await _copy(source, copy, report, progress)
                    await Trial(settings, scratch.url, copy, report, reference, progress).run()
                scratch.is_kept = options.keep
                report.copy["database"], report.copy["is_kept"] = scratch.name, options.keep
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            sqlstate = getattr(error, "sqlstate", None)
            fix = f" (SQLSTATE {sqlstate}): {fix_of_sqlstate(sqlstate)}" if sqlstate else ""
            raise RehearsalError(f"the database rejects the rehearsal: {reason(error)}{fix}") from error
        report.passed = not report.problems
        return report


async def describe(source: Any, target: str) -> Report:
    """Return a report with what identifies the database, its schema and the migration."""
    if not (await fetch_row(source, "schema_comment"))["is_there"]:
        raise RehearsalError(
            "the database was never migrated, so there is nothing to rehearse: run `draftline migrate`"
        )
    revision = await read_revision(source)
    known = revisions.known()
    if revision not in known:
        raise migrate.MigrateError(schema_problem(revision, known[0]))
    await check_no_switchover(source)  # `migrate` refuses then, too
    identity = dict(await fetch_row(source, "identity"))
    found = digests(await read_objects(source))
    report = Report(
        database=identity,
        revision=revision,
        target=target,
        version=version("draftline-server"),
        started_at=now(),
        scripts=scripts_digest(revisions.FOLDER),
        schema_digest=digest_of(found),
        schema=found,
    )
    report.services_may_run = revisions.can_live_with(revision, revision, target)
    not_owned = [row["name"] for row in await fetch(source, "relations") if not row["is_owned"]]
    if not_owned:
        report.problems.append(
            f"the role of DRAFTLINE_DATABASE_URL does not own {', '.join(not_owned[:NAMED])}: migrate as the role that "
            "migrated before, or as a member of it"
        )
    return report


async def _reference(scratch: Scratch, report: Report, progress: Progress) -> dict[str, str] | None:
    """Return the objects that the migrations create in an empty database; None if they fail there."""
    progress.step(f"migrating an empty database to {report.target}, to compare the schema with")
    async with empty_again(scratch) as connection:
        try:
            await asyncio.to_thread(migrate.go_to, scratch.url, report.target, incomplete=report.problems.append)
        except Exception as error:  # whatever a migration script raises
            report.problems.append(f"the migrations of an empty database to {report.target} fail: {reason(error)}")
            return None
        return await read_declared_objects(connection)


async def _copy(source: Any, copy: Any, report: Report, progress: Progress) -> None:
    await source.execute(SNAPSHOT)
    try:
        result = await copy_schema(source, copy, progress)
    finally:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await source.execute("ROLLBACK")
    report.schema = digests(result.objects)
    report.schema_digest = digest_of(report.schema)
    report.copy = {"seconds": round(result.seconds, 3), "rows": result.rows}
