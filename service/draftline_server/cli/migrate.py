"""`draftline migrate`: migrate the database to a schema revision."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import click
from rich.console import Console

from ..ops import migrate
from ..ops.downgrade_losses import losses_of
from ..settings import Settings
from .app import json_option, reporting
from .database_url import database_url


@click.command("migrate")
@click.option("--check", is_flag=True, help="Only check that the migrations produce the tables that the code declares.")
@click.option("--to", "revision", default="head", help="Target revision; an older one downgrades.", show_default=True)
@click.option("--wait", is_flag=True, help="Wait until no service uses the database, instead of failing.")
@click.option("--yes", is_flag=True, help="Do not ask before a downgrade, which may remove data.")
@json_option
@click.pass_obj
@reporting
def migrate_command(settings: Settings, *, check: bool, revision: str, wait: bool, yes: bool, as_json: bool) -> None:
    """Migrate the database to the schema of this version.

    Fails while services use the database, unless nothing is to be migrated. A downgrade lists what it removes, and asks
    for confirmation.
    """
    if check:
        _check_migrations(settings, as_json)
    with database_url(settings, migrated=False) as url:
        if revision != "head" and not yes:
            _confirm(revision, migrate.undone_by(url, revision))
        with _progress() as report:
            reached = migrate.go_to(url, revision, report, waits_for_services=wait)
    click.echo(json.dumps({"revision": reached}) if as_json else f"the database is at revision {reached}")


def _confirm(revision: str, undone: list[str]) -> None:
    if not undone:
        return
    losses = losses_of(undone)
    lines = [f"Going back to {revision} removes:", *(f"  {loss}" for loss in losses)] if losses else []
    click.echo("\n".join([*lines, "A backup is the only way to get removed data back."] if lines else []), err=True)
    if not sys.stdin.isatty():
        raise click.UsageError("This is a downgrade, and standard input is not a terminal; pass --yes to confirm.")
    click.confirm(f"Downgrade to {revision}?", abort=True, err=True)


def _check_migrations(settings: Settings, as_json: bool) -> NoReturn:
    differences = [str(each) for each in migrate.check_in_scratch(settings.database.postgres_bin)]
    lines = [f"difference: {difference}" for difference in differences]
    lines.append("models and migrations differ" if differences else "models and migrations agree")
    click.echo(json.dumps({"differences": differences}) if as_json else "\n".join(lines))
    sys.exit(bool(differences))


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show on a terminal the completed steps of a migration, and that another is in progress."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("migrating"):
        yield lambda step: console.print(step, markup=False)
