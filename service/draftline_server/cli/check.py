"""`draftline check`: check that drafts, order entries, statistics and references are consistent with their records."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..ops import revisions
from ..ops.draft_check import (
    DanglingReference,
    DraftChecker,
    DraftDifference,
    EntryDifference,
    ReferenceChecker,
    Tallies,
    TallyDifference,
    open_checkers,
)
from ..settings import Settings
from .app import json_option, reporting
from .database_url import database_url
from .terminal_text import TerminalConsole, echo_result

REFRESH_S = 0.1


@dataclass(slots=True)
class Counts:
    """Counts of drafts, and of differences of drafts and entries. What a write has ended is not remaining."""

    checked: int = 0
    differences: int = 0
    repaired: int = 0
    remaining: int = 0

    def __str__(self) -> str:
        repaired = f", {self.repaired:,} repaired" if self.repaired else ""
        return f"{self.checked:,} drafts checked, {self.differences:,} differ{repaired}, {self.remaining:,} remain"


@click.command("check")
@click.option(
    "--repair",
    is_flag=True,
    help="Apply the edits of differing drafts again, add or delete wrong entries, and build wrong statistics again.",
)
@json_option
@click.pass_obj
@reporting
def check_command(settings: Settings, repair: bool, as_json: bool) -> None:
    """Find inconsistent drafts, entries, statistics and references.

    Compares the stored merge of every draft with the result of applying its edit to its record, and the entries of
    declared orders and the tallies of statistics with the records and drafts. Lists the records that name a missing one
    by a relation that is checked; --repair leaves them, and those of a sync do not count as differences. The exit
    status is 1 if differences remain. With --json, prints one object for each difference, and the summary as the last
    one.

    Checks all tenants in the database of the settings. The service may be running. A draft whose record does not exist
    is an orphan; --repair leaves it, because only its user can discard it.
    """
    with database_url(settings, migrated=False, create=False) as url:
        counts = asyncio.run(_check(settings, url, repair=repair, as_json=as_json))
    echo_result(asdict(counts), str(counts), as_json=as_json)
    sys.exit(counts.remaining > 0)


async def _check(settings: Settings, url: str, *, repair: bool, as_json: bool) -> Counts:
    counts = Counts()
    async with open_checkers(settings, url, revisions.head()) as (checker, entries, tallies, references):
        async with _progress(checker):
            async for each in checker.differences():
                repaired = repair and await checker.repair(each)
                counts.differences += 1
                counts.repaired += repaired
                counts.remaining += each.is_orphan or not repair
                entry = {**asdict(each), "repaired": repaired}
                echo_result(entry, _line(each, repaired), as_json=as_json)
        counts.checked = checker.checked
        async for wrong in entries.differences():
            repaired = repair and await entries.repair(wrong)
            counts.differences += 1
            counts.repaired += repaired
            counts.remaining += not repair
            echo_result(_entry(wrong, repaired), _entry_line(wrong, repaired), as_json=as_json)
        await _check_tallies(tallies, counts, repair=repair, as_json=as_json)
        await _check_references(references, counts, as_json=as_json)
    return counts


async def _check_references(references: ReferenceChecker, counts: Counts, *, as_json: bool) -> None:
    async for each in references.differences():
        counts.differences += not each.is_synced
        counts.remaining += not each.is_synced
        echo_result({**asdict(each), "repaired": False}, _reference_line(each), as_json=as_json)


def _reference_line(reference: DanglingReference) -> str:
    values = (
        reference.tenant_id, reference.collection, reference.record_id, reference.related_collection,
        reference.related_id,
    )  # fmt: skip
    tenant, collection, record, target, missing = (json.dumps(value, ensure_ascii=False) for value in values)
    suffix = ", as a sync has pulled it" if reference.is_synced else ""
    return (
        f"{record} in {collection} of {tenant} names {missing} by relation {reference.relation!r}, "
        f"and {target} has no such record{suffix}"
    )


async def _check_tallies(tallies: Tallies, counts: Counts, *, repair: bool, as_json: bool) -> None:
    """Check the statistics, after the drafts that they count are repaired."""
    found = await tallies.differences()
    for statistic in dict.fromkeys((each.tenant_id, each.collection, each.statistic_id) for each in found):
        if repair:
            await tallies.repair(*statistic)
    counts.differences += len(found)
    counts.repaired += len(found) if repair else 0
    counts.remaining += 0 if repair else len(found)
    for each in found:
        echo_result({**asdict(each), "repaired": repair}, _group_line(each, repair), as_json=as_json)


def _group_line(difference: TallyDifference, repaired: bool) -> str:
    values = (difference.tenant_id, difference.collection, list(difference.keys), difference.user_id)
    tenant, collection, keys, user = (json.dumps(value, ensure_ascii=False) for value in values)
    whose = f"the drafts of {user}" if difference.user_id else "the baseline"
    suffix = ": repaired" if repaired else ""
    where = f"statistic {difference.statistic_id} in {collection} of {tenant}"
    return f"the group {keys} of {where} differs from the records, for {whose}{suffix}"


def _line(difference: DraftDifference, repaired: bool) -> str:
    """Return a line for a difference. Ids are quoted, because they may contain any character."""
    keys = (difference.tenant_id, difference.user_id, difference.collection, difference.record_id)
    tenant, user, collection, record = (json.dumps(key, ensure_ascii=False) for key in keys)
    problem = "changes a record that does not exist" if difference.is_orphan else "differs from its edit"
    suffix = ": repaired" if repaired else ""
    return f"the draft of {record} in {collection}, by {user} of {tenant}, {problem}{suffix}"


def _entry(difference: EntryDifference, repaired: bool) -> dict[str, Any]:
    entry = {name: value for name, value in asdict(difference).items() if name != "key"}
    return {**entry, "repaired": repaired}


def _entry_line(difference: EntryDifference, repaired: bool) -> str:
    keys = (difference.tenant_id, difference.collection, difference.record_id)
    tenant, collection, record = (json.dumps(key, ensure_ascii=False) for key in keys)
    user = f", by {json.dumps(difference.user_id, ensure_ascii=False)}," if difference.user_id else ""
    owner = f"the draft of {record}" if user else record
    problem = "is missing" if difference.is_missing else "is unexpected"
    suffix = ": repaired" if repaired else ""
    return f"an order entry of {owner} in {collection}{user} of {tenant} {problem}{suffix}"


@asynccontextmanager
async def _progress(checker: DraftChecker) -> AsyncIterator[None]:
    """Show the progress of the check on a terminal."""
    console = TerminalConsole(stderr=True)
    if not console.is_terminal:
        yield
        return
    total = await checker.total()
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("drafts"), TimeRemainingColumn())
    progress = Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty())
    task = progress.add_task("check", total=total)

    async def follow() -> None:
        while True:
            progress.update(task, completed=checker.checked)
            await asyncio.sleep(REFRESH_S)

    with progress:
        following = asyncio.create_task(follow())
        try:
            yield
        finally:
            following.cancel()
