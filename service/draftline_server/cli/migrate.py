"""`draftline migrate`: migrate the database to a schema revision."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import click

from ..ops import migrate, revisions
from ..ops.downgrade_losses import losses_of
from ..partitions.scratch_check import check_in_scratch
from ..rehearsal.run import Options
from ..settings import Settings
from .app import json_option, reporting
from .database_url import database_url
from .embedded_database import apply_layout
from .rehearsals import Duration, complete_command, downgrade_of, drop_copies_command, rehearse_command
from .terminal_text import TerminalConsole, confirm, echo, echo_result

# The options that select what is done, and the parameters that each takes.
MODES = {
    "check": ("--check", set[str]()),
    "rehearse": ("--rehearse", {"revision", "into", "longest_lock", "keep", "report_file"}),
    "complete_file": ("--complete", {"wait", "yes", "max_age", "dry_run"}),
    "drop_copies": ("--drop-copies", {"into"}),
}


EXAMPLES = """\b
Examples:
  draftline migrate                                         upgrade to this version
  draftline migrate --to 0022 --yes                         downgrade
  draftline migrate --rehearse --report rehearsal.json      try the upgrade on a copy
  draftline migrate --rehearse --into "$EMPTY_DATABASE_URL" --longest-lock 500ms
  draftline migrate --complete rehearsal.json --dry-run     compare the database with the report
  draftline migrate --complete rehearsal.json --wait        upgrade as rehearsed

\b
Exit status:
  0  success; the rehearsal passed
  1  failure; the rehearsal failed, or the database is not what was rehearsed
  2  the command line or a setting is invalid; nothing was done
  3  the database cannot be reached; retry later
"""


@click.command("migrate", epilog=EXAMPLES)
@click.option("--check", is_flag=True, help="Only check that the migrations produce the tables that the code declares.")
@click.option("--to", "revision", default="head", help="Target revision; an older one downgrades.", show_default=True)
@click.option("--wait", is_flag=True, help="Wait until no service uses the database, instead of failing.")
@click.option("--yes", is_flag=True, help="Do not ask before a downgrade, which may remove data.")
@click.option("--rehearse", is_flag=True, help="Migrate a copy of the database instead, and report what happens.")
@click.option("--into", metavar="URL", help="With --rehearse: the URL of an empty database for the copy. "
              "Default: a new database on the same server.")  # fmt: skip
@click.option("--longest-lock", type=Duration(), default="1s", show_default=True,
              help="With --rehearse: how long a table with rows may be locked.")  # fmt: skip
@click.option("--keep", is_flag=True, help="With --rehearse: keep the migrated copy, to try it.")
@click.option("--report", "report_file", type=click.Path(dir_okay=False, path_type=Path),
              help="With --rehearse: the file of the report. Default: a new one in the working folder.")  # fmt: skip
@click.option("--complete", "complete_file", type=click.Path(dir_okay=False, exists=True, path_type=Path),
              help="Migrate as in this report, if the rehearsal passed and nothing has changed since.")  # fmt: skip
@click.option("--max-age", type=click.IntRange(0), default=7, show_default=True, metavar="DAYS",
              help="With --complete: how old the report may be.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="With --complete: only compare the database with the report.")
@click.option("--drop-copies", is_flag=True, help="Drop the copies that rehearsals have kept, or left when killed.")
@json_option
@click.pass_obj
@reporting
def migrate_command(
    settings: Settings, *, check: bool, revision: str, wait: bool, yes: bool, rehearse: bool, into: str | None,
    longest_lock: float, keep: bool, report_file: Path | None, complete_file: Path | None, max_age: int,
    dry_run: bool, drop_copies: bool, as_json: bool,
) -> None:  # fmt: skip
    """Migrate the database to the schema of this version.

    Fails while services use the database, unless nothing is to be migrated. A downgrade lists what it removes, and asks
    for confirmation.

    With --rehearse, the database is only read: its copy is migrated, measured, compared and checked, and removed. The
    report shows locks, times and sizes, and whether the rehearsal passed. --complete runs the migration of a report.
    """
    _check_options()
    if check:
        _check_migrations(settings, as_json)
    if drop_copies:
        drop_copies_command(settings, into, as_json=as_json)
    elif rehearse:
        rehearse_command(settings, Options(revision, into, longest_lock, keep), report_file, as_json=as_json)
    elif complete_file is not None:
        if not yes and not dry_run:
            _confirm(*downgrade_of(complete_file))
        complete_command(
            settings, complete_file, max_age=timedelta(days=max_age), wait=wait, dry_run=dry_run, as_json=as_json
        )
    else:
        _migrate(settings, revision, wait=wait, yes=yes, as_json=as_json)


def _check_options() -> None:
    """Raise UsageError for options that do not fit together."""
    context = click.get_current_context()
    given = {
        name for name in context.params if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    modes = [name for name in MODES if name in given]
    if len(modes) > 1:
        raise click.UsageError(f"Pass only one of {' and '.join(MODES[name][0] for name in modes)}.")
    allowed = MODES[modes[0]][1] if modes else {"revision", "wait", "yes"}
    for option in context.command.params:
        if option.name in given - allowed - {"as_json", *modes}:
            what = f"{MODES[modes[0]][0]} does" if modes else "a plain migration does"
            raise click.UsageError(f"{what[0].upper()}{what[1:]} not take {option.opts[0]}.")


def _migrate(settings: Settings, revision: str, *, wait: bool, yes: bool, as_json: bool) -> None:
    with database_url(settings, migrated=False) as url:
        if revision != "head" and not yes:
            _confirm(revision, migrate.undone_by(url, revision))
        with _progress() as report:
            reached = migrate.go_to(
                url, revision, report, waits_for_services=wait, notice=lambda text: echo(text, err=True)
            )
            if reached == revisions.head():
                apply_layout(settings, url)
    echo_result({"revision": reached}, f"the database is at revision {reached}", as_json=as_json)


def _confirm(revision: str, undone: list[str]) -> None:
    if not undone:
        return
    losses = losses_of(undone)
    lines = [f"Going back to {revision} removes:", *(f"  {loss}" for loss in losses)] if losses else []
    echo("\n".join([*lines, "A backup is the only way to get removed data back."] if lines else []), err=True)
    if not sys.stdin.isatty():
        raise click.UsageError("This is a downgrade, and standard input is not a terminal; pass --yes to confirm.")
    confirm(f"Downgrade to {revision}?")


def _check_migrations(settings: Settings, as_json: bool) -> NoReturn:
    found = check_in_scratch(settings.database.postgres_bin)
    differences = [f"{mode} tables: {each}" for mode, all_of_mode in found.items() for each in all_of_mode]
    lines = [f"difference: {difference}" for difference in differences]
    lines.append("models and migrations differ" if differences else "models and migrations agree")
    echo_result({"differences": differences}, "\n".join(lines), as_json=as_json)
    sys.exit(bool(differences))


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show on a terminal the completed steps of a migration, and that another is in progress."""
    console = TerminalConsole(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("migrating"):
        yield lambda step: console.print(step, markup=False)
