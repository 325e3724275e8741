"""`draftline check`: whether every draft's merge is what it should be."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from .. import app
from ..app import DraftChecker, DraftDifference
from ..ops import migrate
from ..settings import Settings
from .group import database, reporting


@dataclass(slots=True)
class Counts:
    """How many drafts; of those that differ, one that its user ended meanwhile was neither repaired nor remains."""

    checked: int = 0
    differences: int = 0
    repaired: int = 0
    remaining: int = 0

    def __str__(self) -> str:
        repaired = f", {self.repaired:,} repaired" if self.repaired else ""
        return f"{self.checked:,} drafts checked, {self.differences:,} differ{repaired}, {self.remaining:,} remain"


@click.command("check")
@click.option("--repair", is_flag=True, help="Mend what differs, by applying the draft's edit to its record again.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a difference, and the summary as the last.")
@click.pass_obj
@reporting
def check_command(settings: Settings, repair: bool, as_json: bool) -> None:
    """Compare every draft's merge with its edit applied to its record: exit status 1 if differences remain.

    In the database of the settings, of all tenants, and while the service runs if it is not the embedded one. A draft
    is an orphan when it changes a record that is not there at all; its user alone can settle that, by a discard.
    """
    with database(settings, migrated=False) as url:
        counts = asyncio.run(_check(settings, url, repair=repair, as_json=as_json))
    click.echo(json.dumps(asdict(counts)) if as_json else str(counts))
    sys.exit(counts.remaining > 0)


async def _check(settings: Settings, url: str, *, repair: bool, as_json: bool) -> Counts:
    counts = Counts()
    async with app.checking(settings, url, migrate.head()) as checker:
        with _progress(checker):
            async for each in checker.differences():
                repaired = repair and await checker.repair(each)
                counts.differences += 1
                counts.repaired += repaired
                counts.remaining += each.is_orphan or not repair
                told = {**asdict(each), "repaired": repaired}
                click.echo(json.dumps(told) if as_json else _line(each, repaired))
        counts.checked = checker.checked
    return counts


def _line(difference: DraftDifference, repaired: bool) -> str:
    """Ids are quoted: any character may stand in them."""
    keys = (difference.tenant_id, difference.user_id, difference.collection, difference.record_id)
    tenant, user, collection, record = (json.dumps(key, ensure_ascii=False) for key in keys)
    problem = "changes a record that is not there" if difference.is_orphan else "differs from its edit"
    mended = ": repaired" if repaired else ""
    return f"the draft of {record} in {collection}, by {user} of {tenant}, {problem}{mended}"


@contextmanager
def _progress(checker: DraftChecker) -> Iterator[None]:
    """Tells on a terminal how far the check is."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return

    def state() -> Text:
        return Text(f"{checker.checked:,} drafts checked")

    with Live(get_renderable=state, console=console, transient=True, redirect_stdout=sys.stdout.isatty()):
        yield
