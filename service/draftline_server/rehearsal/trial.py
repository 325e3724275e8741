"""The migration of the copy: under observation, and compared with the copy before it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from ..domain.errors import OperatorError
from ..ops import migrate, revisions
from ..ops.draft_check import open_checkers
from ..settings import Settings
from .contents import REVISION_TABLE, Content, compare_contents, losses, read_contents
from .locks import Sampler, lock_problems
from .progress import Progress
from .report import Report
from .schema import compare, read_declared_objects
from .sessions import fetch, fetch_row, read_revision, session

NAMED = 5  # differences that a problem names


@dataclass(slots=True)
class _Before:
    """The copy before the migration."""

    contents: dict[str, Content]
    relations: list[Any]
    files: dict[str, int]
    changed: dict[str, int]
    wal: int


@dataclass(frozen=True, slots=True)
class Trial:
    """A copy to migrate: its URL, a connection to it, and the report to complete.

    `reference` are the objects that the migrations create in an empty database; None: they fail there.
    """

    settings: Settings
    url: str
    copy: Any
    report: Report
    reference: dict[str, str] | None
    progress: Progress

    async def run(self) -> None:
        """Migrate the copy, and complete the report."""
        report = self.report
        self.progress.step("reading the contents of the copy")
        before = await _before(self.copy, report)
        await _migrate(self.url, self.copy, before, report, self.progress)
        if report.reached != report.target:
            return
        self.progress.step("comparing the contents of the copy with those before the migration")
        comparisons = compare_contents(before.contents, await read_contents(self.copy))
        report.tables = [{**asdict(each), "is_same": each.is_same} for each in comparisons]
        report.problems += losses(comparisons, is_upgrade=not revisions.between(report.target, report.revision))
        await self._compare_schema()
        if not report.differences and report.target == revisions.head():
            try:
                await self._check()
            except OperatorError as error:
                report.problems.append(f"`draftline check` cannot run on the migrated copy: {reason(error)}")

    async def _compare_schema(self) -> None:
        report = self.report
        if self.reference is None:
            return
        with_functions = report.target == revisions.head()
        found = await read_declared_objects(self.copy)
        report.differences = drift(found, self.reference, with_functions=with_functions)
        if report.differences:
            more = f"; and {len(report.differences) - NAMED} more" if len(report.differences) > NAMED else ""
            report.problems.append(
                "the migrated schema is not the one that the migrations create in an empty database: "
                f"{'; '.join(report.differences[:NAMED])}{more}"
            )

    async def _check(self) -> None:
        """Run the checks of `draftline check` on the copy."""
        self.progress.step("checking drafts, order entries and statistics of the copy")
        differing = 0
        opened = open_checkers(self.settings, self.url, self.report.target)
        async with opened as (checker, entries, tallies, references):
            async for _ in checker.differences():
                differing += 1
            async for _ in entries.differences():
                differing += 1
            differing += len(await tallies.differences())
            async for each in references.differences():
                differing += not each.is_synced
            self.report.check = {"drafts": checker.checked, "differences": differing}
        if differing:
            self.report.problems.append(
                f"`draftline check` finds {differing:,} differences in the migrated copy: run it on the database"
            )


def drift(found: dict[str, str], wanted: dict[str, str], *, with_functions: bool) -> list[str]:
    """Return how a migrated schema differs from the reference.

    The text of functions is only compared at the newest revision: older revisions run the current files.
    """
    if not with_functions:
        found, wanted = (
            {name: "" if name.startswith("function ") else text for name, text in objects.items()}
            for objects in (found, wanted)
        )
    return compare(found, wanted)


async def _before(copy: Any, report: Report) -> _Before:
    files = await fetch(copy, "files")
    contents, relations = await read_contents(copy), await fetch(copy, "relations")
    report.size_before = (await fetch_row(copy, "database_size"))["bytes"]
    return _Before(
        contents=contents,
        relations=relations,
        files={row["name"]: row["file"] for row in files},
        changed={row["name"]: row["changed"] for row in files},
        wal=(await fetch_row(copy, "wal_position"))["bytes"],
    )


async def _migrate(url: str, copy: Any, before: _Before, report: Report, progress: Progress) -> None:
    """Migrate the copy under observation, and report steps, locks, sizes and what was written."""
    progress.step(f"migrating the copy from {report.revision} to {report.target}")
    start = last = time.monotonic()

    def step(text: str) -> None:
        nonlocal last
        report.steps.append({"step": text, "seconds": round(time.monotonic() - last, 3)})
        last = time.monotonic()
        progress.notice(f"migrated the copy: {text}")

    async with _sampling(url, before) as sampler:
        try:
            compared: list[str] = []  # the comparison with the migrations of an empty database reports it
            report.reached = await asyncio.to_thread(
                migrate.go_to, url, report.target, step, incomplete=compared.append
            )
        except Exception as error:  # whatever a migration script raises
            report.problems.append(f"{_failed_step(report)}: {reason(error)}")
            report.reached = await read_revision(copy)
        report.seconds = round(time.monotonic() - start, 3)
    await _measure(copy, before, report)
    report.size_peak = max(report.size_before, report.size_after, sampler.size_peak)
    rows = {row["name"]: row["rows"] for row in before.relations}
    locks = sampler.held(rows | {name: content.rows for name, content in before.contents.items()})
    report.locks = [asdict(lock) for lock in locks]
    report.problems += lock_problems(locks, report.longest_lock_s, report.changed_rows)


async def _measure(copy: Any, before: _Before, report: Report) -> None:
    """Report what the migration has written."""
    report.wal_bytes = (await fetch_row(copy, "wal_position"))["bytes"] - before.wal
    files = await fetch(copy, "files")
    report.rewritten = [row["name"] for row in files if before.files.get(row["name"], row["file"]) != row["file"]]
    changed = {row["name"]: row["changed"] - before.changed.get(row["name"], 0) for row in files}
    report.changed_rows = {
        name: count for name, count in changed.items() if count > 0 and name in before.files and name != REVISION_TABLE
    }
    report.size_after = (await fetch_row(copy, "database_size"))["bytes"]


def reason(error: Exception) -> str:
    """Return the first line of an error: what follows may hold values of rows."""
    text = str(error).partition("\n")[0]
    return text if isinstance(error, OperatorError) else f"{type(error).__name__}: {text}"


def _failed_step(report: Report) -> str:
    after = f" after {report.steps[-1]['step'].partition(' ')[0]}" if report.steps else ""
    return f"the migration from {report.revision} to {report.target} fails{after}"


@asynccontextmanager
async def _sampling(url: str, before: _Before) -> AsyncIterator[Sampler]:
    """Sample on another connection until the end of the block."""
    async with session(url) as connection:
        sampler = Sampler(
            connection, {row["oid"]: row["name"] for row in before.relations if row["name"] != REVISION_TABLE}
        )
        sampling = asyncio.ensure_future(sampler.run())
        try:
            yield sampler
        finally:
            sampler.stop()
            await sampling
