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
from ..settings import Settings
from .app import json_option, reporting
from .database_url import database_url


@click.command("migrate")
@click.option("--check", is_flag=True, help="Only tell whether the migrations make what the code declares.")
@click.option("--to", "revision", default="head", help="A revision; an older one is gone back to.", show_default=True)
@json_option
@click.pass_obj
@reporting
def migrate_command(settings: Settings, check: bool, revision: str, as_json: bool) -> None:
    """Bring the database to the schema of this version."""
    if check:
        _check_migrations(settings, as_json)
    with database_url(settings, migrated=False) as url, _progress() as tell:
        reached = migrate.go_to(url, revision, tell)
    click.echo(json.dumps({"revision": reached}) if as_json else f"the database is at revision {reached}")


def _check_migrations(settings: Settings, as_json: bool) -> NoReturn:
    found = [str(each) for each in migrate.check_in_scratch(settings.postgres_bin)]
    told = [f"not in step: {difference}" for difference in found]
    told.append("models and migrations differ" if found else "models and migrations are in step")
    click.echo(json.dumps({"differences": found}) if as_json else "\n".join(told))
    sys.exit(bool(found))


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show on a terminal the completed steps of a migration, and that another is in progress."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("migrating"):
        yield lambda step: console.print(step, markup=False)
