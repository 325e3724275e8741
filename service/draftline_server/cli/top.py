"""`draftline top`: the current activity of a service, in the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import asdict
from datetime import timedelta

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..embedded_postgres.socket_path import running_url
from ..ops.lock_waits import LocksError, Wait, waits
from ..ops.metrics_client import Between, ScrapeError, scrape
from ..ops.top import Activity, activity
from ..settings import Settings
from .app import NotReachedError, json_option, reporting, result_console
from .terminal_text import echo_json

MOST_STATEMENTS = 8  # limit of the table
MIB = 1 << 20


@click.command("top")
@click.option("--url", help="URL of the metrics. Default: from the settings, http://127.0.0.1:9464/metrics.")
@click.option("--interval", "interval_s", type=click.FloatRange(min=0.1), default=2.0, show_default=True,
              help="Seconds between updates.")  # fmt: skip
@click.option("--once", is_flag=True, help="Print one interval, and exit.")
@json_option
@click.pass_obj
@reporting
def top_command(settings: Settings, url: str | None, interval_s: float, once: bool, as_json: bool) -> None:
    """Show live rates, latencies, pool and locks.

    Reads the metrics of a service and, if DRAFTLINE_DATABASE_URL or the data folder gives its location, the locks of
    its database. With --json, prints one object per interval. Ctrl-C ends it.
    """
    looks = _looks(url or _url_of(settings), interval_s, lambda: _locks(settings))
    console = result_console()
    live = (
        None if as_json or once or not console.is_terminal else Live(console=console, auto_refresh=False, screen=True)
    )
    with live or nullcontext(), suppress(KeyboardInterrupt):
        for each in looks:
            if live is not None:
                live.update(_shown(each) if each else Text("The service cannot be reached.", "bold red"), refresh=True)
            elif each is None:
                raise NotReachedError("the service can no longer be reached")
            elif as_json:
                echo_json(json.dumps(asdict(each)))
            else:
                console.print(_shown(each))
            if once:
                break


def _url_of(settings: Settings) -> str:
    if not settings.metrics.port:
        raise click.UsageError("DRAFTLINE_METRICS_PORT does not name a fixed port; pass --url.")
    host = f"[{settings.metrics.host}]" if ":" in settings.metrics.host else settings.metrics.host
    return f"http://{host}:{settings.metrics.port}/metrics"


def _looks(url: str, interval_s: float, locks: Callable[[], list[Wait] | None]) -> Iterator[Activity | None]:
    """Yield the activity of each interval, or None if the service is unreachable at its end.

    Raise NotReachedError if the first scrape fails.
    """
    try:
        before = scrape(url)
    except ScrapeError as error:
        raise NotReachedError(f"{error}\nIs the service running there? `draftline serve` starts it.") from error
    while True:
        time.sleep(interval_s)
        try:
            after = scrape(url)
        except ScrapeError:
            yield None
            continue
        yield activity(Between(before, after), locks())
        before = after


def _locks(settings: Settings) -> list[Wait] | None:
    url = settings.database.url or running_url(settings.database.data_dir)
    if url is None:
        return None
    try:
        return waits(url)
    except LocksError:
        return None


def _shown(now: Activity) -> Group:
    return Group(_summary(now), _methods(now), _statements(now), _waits(now))


def _summary(now: Activity) -> Table:
    grid = Table.grid(padding=(0, 3))
    reachable = Text("database reachable", "green") if now.is_database_reachable else Text("no database", "bold red")
    up = timedelta(seconds=int(now.uptime_s))
    workers = "1 process" if now.workers == 1 else f"{now.workers} workers"
    grid.add_row(Text(f"draftline {now.version}", "bold"), workers, f"up {up}", reachable)
    memory = f"{now.memory_bytes / MIB:,.0f} MiB"
    grid.add_row("processor", f"{now.cpu_cores:.2f} cores", f"memory {memory}", f"{now.watchers:,} watchers")
    grid.add_row("calls", f"{now.calls_running:,} running", f"{now.calls_waiting:,} waiting",
                 _alarming(f"{now.calls_shed_per_s:,.1f}/s shed", now.calls_shed_per_s))  # fmt: skip
    grid.add_row("pool", f"{now.pool_in_use:,} of {now.pool_size:,} in use",
                 _alarming(f"{now.pool_waiting:,} waiting", now.pool_waiting),
                 f"{now.retries_per_s:,.1f}/s retries")  # fmt: skip
    if now.patches_per_statement is not None:
        grid.add_row("groups", f"{now.patches_per_statement:,.1f} patches per statement")
    return grid


def _methods(now: Activity) -> Table:
    table = Table("call", title=f"calls in {now.interval_s:.1f} s", title_justify="left", expand=False)
    for name in ("per s", "errors per s", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for each in now.methods:
        table.add_row(
            each.method.rpartition(".")[2], f"{each.calls_per_s:,.1f}",
            _alarming(f"{each.errors_per_s:,.1f}", each.errors_per_s),
            _ms(each.p50_ms), _ms(each.p95_ms), _ms(each.p99_ms),
        )  # fmt: skip
    return table


def _statements(now: Activity) -> Table:
    table = Table("statement", title="statements by time taken", title_justify="left")
    for name in ("per s", "mean ms"):
        table.add_column(name, justify="right")
    for each in now.statements[:MOST_STATEMENTS]:
        table.add_row(each.statement, f"{each.runs_per_s:,.1f}", _ms(each.mean_ms))
    return table


def _waits(now: Activity) -> Table | Text:
    if now.locks is None:
        return Text("locks: set DRAFTLINE_DATABASE_URL to the service's database to see them", "dim")
    if not now.locks:
        return Text("no session waits for a lock", "dim")
    table = Table(
        "waits", "for", "lock", "blocked by", "blocker state", "open for", title="locks", title_justify="left"
    )
    for each in now.locks:
        blocker = f"{each.blocker} {each.application}".strip() if each.blocker else "a prepared transaction"
        table.add_row(str(each.pid), f"{each.waited_s:,.1f} s", f"{each.kind} {each.relation}".strip(), blocker,
                      each.state, f"{each.open_s:,.1f} s")  # fmt: skip
    return table


def _alarming(text: str, count: float) -> Text:
    return Text(text, "bold red" if count else "")


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"
