"""Steps of `draftline partitions`: their options, their run on the database, their progress and their output."""

from __future__ import annotations

import asyncio
import json
import sys
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..auth.identity import MAX_TENANT
from ..ops import revisions
from ..partitions.pace import Pace
from ..partitions.session import Session, open_session
from ..partitions.switch_state import Phase
from ..partitions.switchover import Switchover
from ..partitions.switchover_reports import sizes
from ..settings import Settings
from .app import json_option, reporting
from .database_url import database_url
from .terminal_text import TerminalConsole, confirm, echo, echo_json, echo_result

T = TypeVar("T")
LOG_FILE = "draftline-partitions.log"
ATTEMPTS = 200
Step = Callable[[Switchover], Awaitable[T]]
SessionStep = Callable[[Session, "Bars | None"], Awaitable[T]]

dry_run_option = click.option("--dry-run", is_flag=True, help="Print the SQL, and change nothing.")
attempts_option = click.option(
    "--attempts", type=click.IntRange(1), default=ATTEMPTS, show_default=True,
    help="How often a lock is tried, for 100 ms each, before the command gives up.",
)  # fmt: skip
log_option = click.option(
    "--log", "log_file", type=click.Path(dir_okay=False, path_type=Path), default=LOG_FILE, show_default=True,
    help="File that the steps are appended to, one JSON object per line.",
)  # fmt: skip


PACE = (
    click.option("--metrics", "metrics_url", metavar="URL",
                 help="The service's metrics, http://HOST:9464/metrics, to spare it while calls are slow."),
    click.option("--max-p99", "max_p99_ms", type=click.FloatRange(min=1), default=250.0, show_default=True,
                 help="Milliseconds: copy slowly while the p99 of calls is above; with --metrics."),
    click.option("--rows-per-second", type=click.FloatRange(min=1), help="Copy no more rows than this per second."),
)  # fmt: skip
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


class TenantId(click.ParamType[str]):
    """The name of a tenant, with the limits of calls: one that no call can use is a mistake."""

    name = "tenant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not 0 < len(text) <= MAX_TENANT or any(unicodedata.category(character) == "Cc" for character in text):
            self.fail(f"a tenant has 1 to {MAX_TENANT} characters, without control characters", param, ctx)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail("a tenant must be UTF-8", param, ctx)
        return text


@dataclass(frozen=True, slots=True)
class StepOptions:
    """The options that all commands have which change tables."""

    dry_run: bool = False
    attempts: int = ATTEMPTS
    log_file: Path | None = None
    as_json: bool = False


def step_command(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of StepOptions to a command, which is called with the settings, these options, and its own."""

    @wraps(command)
    def run(settings: Settings, *, dry_run: bool, attempts: int, log_file: Path, as_json: bool, **own: Any) -> None:
        command(settings, StepOptions(dry_run, attempts, log_file, as_json), **own)

    decorated = click.pass_obj(reporting(run))
    for option in (json_option, log_option, attempts_option, dry_run_option):
        decorated = option(decorated)
    return decorated


def pace_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the pace of a copy to a command, which is called with a Pace."""

    @wraps(command)
    def run(
        *arguments: Any, metrics_url: str | None, max_p99_ms: float, rows_per_second: float | None, **own: Any
    ) -> None:
        command(*arguments, pace=Pace(metrics_url, max_p99_ms, rows_per_second), **own)

    for option in reversed(PACE):
        run = option(run)
    return run


def confirm_removal(counts: Iterable[str], question: str) -> None:
    """Print what is about to be removed, and ask. Raise UsageError without a terminal, Abort without consent."""
    for line in counts:
        echo(f"  {line}", err=True)
    if not sys.stdin.isatty():
        raise click.UsageError("Standard input is not a terminal; pass --yes to confirm, or --dry-run.")
    confirm(question)


def run_step(
    settings: Settings, step: Step[T], options: StepOptions | None = None, *, locks: bool = True
) -> tuple[T, list[str]]:
    """Run a step of a switchover on the database of the settings. Return its result and, of a dry run, the SQL."""

    async def run(session: Session, bars: Bars | None) -> T:
        switchover = Switchover(session, bars) if bars is not None else Switchover(session)
        await switchover.load()
        if bars is not None:
            bars.totals = {row["name"]: row["rows"] or 0 for row in await sizes(session.connection)}
        return await step(switchover)

    return run_session(settings, run, options, locks=locks)


def run_session(
    settings: Settings, step: SessionStep[T], options: StepOptions | None = None, *, locks: bool = True
) -> tuple[T, list[str]]:
    """Run a step on a session, with progress bars on a terminal. Return its result and, of a dry run, the SQL."""
    options = options or StepOptions()
    log_file = None if options.dry_run else options.log_file
    if log_file is not None:
        log_file.open("a").close()  # before anything is changed

    async def run(url: str) -> tuple[T, list[str]]:
        with _progress() as (report, bars):
            async with open_session(
                url, locks=locks and not options.dry_run, report=report, log_file=log_file, dry_run=options.dry_run,
                attempts=options.attempts, newest=revisions.head(),
            ) as session:  # fmt: skip
                return await step(session, bars), session.sql

    with database_url(settings, migrated=False, create=False) as url:
        return asyncio.run(run(url))


class Bars:
    """A progress bar for each table that is copied, compared or emptied. `totals`: the rows that are expected."""

    def __init__(self, progress: Progress) -> None:
        self.totals: dict[str, int] = {}
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, table: str, rows: int, of: int | None) -> None:
        if table not in self._tasks:
            self._tasks[table] = self._progress.add_task(table, total=None)
        if of is not None:
            self.totals[table] = of
        total = max(self.totals.get(table, 0), rows)
        self._progress.update(self._tasks[table], completed=rows, total=total if total or of == 0 else None)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[str], None], Bars | None]]:
    """Yield what reports a step and the rows of a table, on standard error; bars only on a terminal."""
    console = TerminalConsole(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda text: echo(text, err=True), None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield lambda text: console.print(text, markup=False), Bars(progress)


def print_sql(sql: list[str], *, as_json: bool, rows: dict[str, int] | None = None) -> None:
    """Print the statements of a dry run, and the rows by table that they would remove."""
    if as_json:
        echo_json(json.dumps({"dry_run": True, "sql": sql} | ({"rows": rows} if rows is not None else {})))
        return
    counts = [f"-- {name}: {count:,} rows" for name, count in (rows or {}).items()]
    echo("\n".join([*counts, *(f"{statement};" for statement in sql)]))


def print_phase(phase: Phase, sql: list[str], options: StepOptions, text: str) -> None:
    if options.dry_run:
        print_sql(sql, as_json=options.as_json)
    else:
        echo_result({"phase": str(phase)}, text, as_json=options.as_json)
