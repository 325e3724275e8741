"""Steps of `draftline partitions`: their options, their run on the database, their progress and their output."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..partitions.session import open_session
from ..partitions.switch_state import Phase
from ..partitions.switchover import Switchover
from ..settings import Settings
from .database_url import database_url

T = TypeVar("T")
LOG_FILE = "draftline-partitions.log"
Step = Callable[[Switchover], Awaitable[T]]

dry_run_option = click.option("--dry-run", is_flag=True, help="Print the SQL, and change nothing.")
attempts_option = click.option(
    "--attempts", type=click.IntRange(1), default=200, show_default=True,
    help="How often a lock is tried, for 100 ms each, before the command gives up.",
)  # fmt: skip
log_option = click.option(
    "--log", "log_file", type=click.Path(dir_okay=False, path_type=Path), default=LOG_FILE, show_default=True,
    help="File that the steps are appended to, one JSON object per line.",
)  # fmt: skip


def run_step(
    settings: Settings, step: Step[T], *, locks: bool = True, log_file: Path | None = None, dry_run: bool = False,
    attempts: int = 200,
) -> tuple[T, list[str]]:  # fmt: skip
    """Run a step on the database of the settings. Return its result and, of a dry run, the SQL."""
    if log_file is not None and not dry_run:
        log_file.open("a").close()  # before anything is changed

    async def run(url: str) -> tuple[T, list[str]]:
        with _progress() as (report, show):
            options = {"report": report, "log_file": log_file, "dry_run": dry_run, "attempts": attempts}
            async with open_session(url, locks=locks and not dry_run, **options) as session:
                switchover = Switchover(session, show)
                await switchover.load()
                if isinstance(show, _Bars):
                    show.totals = {row["name"]: row["rows"] for row in await switchover.sizes()}
                return await step(switchover), session.sql

    with database_url(settings, migrated=False, create=False) as url:
        return asyncio.run(run(url))


class _Bars:
    """A progress bar for each table that is copied or compared."""

    def __init__(self, progress: Progress) -> None:
        self.totals: dict[str, int] = {}
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, table: str, rows: int) -> None:
        if table not in self._tasks:
            self._tasks[table] = self._progress.add_task(table, total=self.totals.get(table) or None)
        total = max(self.totals.get(table, 0), rows) or None
        self._progress.update(self._tasks[table], completed=rows, total=total)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[str], None], Callable[[str, int], None]]]:
    """Yield functions that report a step and the rows of a table, on standard error; bars only on a terminal."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda text: click.echo(text, err=True), lambda _table, _rows: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield lambda text: console.print(text, markup=False), _Bars(progress)


def print_sql(sql: list[str], *, as_json: bool, rows: dict[str, int] | None = None) -> None:
    """Print the statements of a dry run, and the rows by table that they would remove."""
    if as_json:
        click.echo(json.dumps({"dry_run": True, "sql": sql} | ({"rows": rows} if rows is not None else {})))
        return
    counts = [f"-- {name}: {count:,} rows" for name, count in (rows or {}).items()]
    click.echo("\n".join([*counts, *(f"{statement};" for statement in sql)]))


def print_phase(phase: Phase, sql: list[str], *, dry_run: bool, as_json: bool, text: str) -> None:
    if dry_run:
        print_sql(sql, as_json=as_json)
    else:
        click.echo(json.dumps({"phase": str(phase)}) if as_json else text)
