"""The rehearsal of a migration and its completion, for `draftline migrate`."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import click

from ..ops import revisions
from ..rehearsal.completion import complete, record_completion, verify_now
from ..rehearsal.progress import Progress
from ..rehearsal.report import Report, read_report, write_report
from ..rehearsal.run import Options, drop_all, run
from ..settings import Settings
from .database_url import database_url
from .rehearsal_text import summary
from .terminal_text import TerminalConsole, echo, echo_result

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}


class Duration(click.ParamType[float]):
    """A time as 500ms, 2s or 1m, in seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|)", str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not a time; pass 500ms, 2s or 1m", param, ctx)
        return float(found[1]) * _UNITS_S[found[2]]


def rehearse_command(
    settings: Settings, options: Options, report_file: Path | None, *, as_json: bool
) -> NoReturn:  # fmt: skip
    """Rehearse, write the report, print it and exit."""
    if report_file is not None:
        _check_report_file(report_file)
    with database_url(settings, migrated=False, create=False) as url, show_progress() as progress:
        report = run(settings, url, options, progress)
    path = report_file or Path(_default_name(report))
    write_report(report, path)
    values = {name: value for name, value in asdict(report).items() if name != "schema"}
    echo_result({"report": str(path), **values}, summary(report, path), as_json=as_json)
    sys.exit(not report.passed)


def complete_command(
    settings: Settings, path: Path, *, max_age: timedelta, wait: bool, dry_run: bool, as_json: bool
) -> None:
    """Migrate as rehearsed, and note that in the report; with `dry_run`, only compare."""
    report = read_report(path)
    with database_url(settings, migrated=False, create=False) as url:
        if dry_run:
            verify_now(url, report, max_age)
            text = f"{summary(report, path)}\nnothing differs from the rehearsal: --complete {path} would migrate"
            values: dict[str, Any] = {"revision": report.revision, "target": report.target, "would_migrate": True}
            echo_result(values, text, as_json=as_json)
            return
        start = time.monotonic()
        with show_progress() as progress:
            reached = complete(url, report, progress.step, max_age=max_age, waits_for_services=wait)
        seconds = time.monotonic() - start
    record_completion(report, path, reached, seconds)
    text = f"the database is at revision {reached}, after {seconds:.1f} s; {report.seconds:.1f} s were rehearsed"
    values = {"revision": reached, "seconds": round(seconds, 3), "rehearsed_seconds": report.seconds}
    echo_result(values, text, as_json=as_json)


def downgrade_of(path: Path) -> tuple[str, list[str]]:
    """Return the target of a report, and the revisions that its migration undoes."""
    report = read_report(path)
    return report.target, revisions.between(report.target, report.revision)


def drop_copies_command(settings: Settings, into: str | None, *, as_json: bool) -> None:
    """Drop the copies that earlier rehearsals of the database left or kept."""
    with database_url(settings, migrated=False, create=False) as url:
        dropped = drop_all(url, into)
    text = "\n".join(f"dropped {name}" for name in dropped) or "there are no copies"
    echo_result({"dropped": dropped}, text, as_json=as_json)


def _check_report_file(path: Path) -> None:
    """Raise UsageError unless the report can be written there, so that no rehearsal is lost."""
    if not path.parent.is_dir():
        raise click.UsageError(f"the folder {path.parent} of --report does not exist")
    if path.exists():
        try:
            read_report(path)
        except Exception as error:
            raise click.UsageError(f"{path} exists and is not a report: {error}") from error


def _default_name(report: Report) -> str:
    database = re.sub(r"[^\w-]", "_", str(report.database["database"]))
    return f"rehearsal-{database}-{report.revision}-{report.target}-{report.time:%Y%m%dT%H%M%SZ}.json"


@contextmanager
def show_progress() -> Iterator[Progress]:
    """Show on a terminal what is going on; write notices to standard error in any case."""
    console = TerminalConsole(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Progress(notice=lambda text: echo(text, err=True))
        return
    with console.status("connecting") as status:
        yield Progress(status.update, lambda text: console.print(text, markup=False))
