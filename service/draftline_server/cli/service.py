"""Commands for who runs the service: `serve`, `migrate`, `health`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import click
import structlog
import uvloop
from rich.console import Console

from .. import app, supervised
from ..ops import migrate
from ..settings import Settings
from .client import reaching
from .group import NO_SERVICE, database, json_option, reporting


@click.command()
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes that share the port. Default: DRAFTLINE_WORKERS, 1."
)
@click.pass_obj
@reporting
def serve(settings: Settings, workers: int | None) -> None:
    """Serve until Ctrl-C or SIGTERM.

    On the PostgreSQL of DRAFTLINE_DATABASE_URL, which must have been migrated, or on an embedded one, whose data
    are kept in DRAFTLINE_DATA_DIR.
    """
    settings = settings.model_copy(update={"workers": workers or settings.workers})
    with database(settings) as url:
        if settings.workers > 1:
            uvloop.run(supervised.serve(settings, url, migrate.head()))
        else:
            uvloop.run(app.serve(settings, url, migrate.head(), serving=_tell))


def _tell(running: app.App) -> None:
    structlog.get_logger().info("serving", address=running.address, metrics_port=running.metrics_port)


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
    with database(settings, migrated=False) as url, _progress() as tell:
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
    """Tells on a terminal which step of a migration is done, and that the next is under way."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("migrating"):
        yield lambda step: console.print(step, markup=False)


@click.command("health")
@reaching
@click.option("--service", default="", help="A service by its full name, as draftline.v1.ContentService. Default: all.")
@click.option("--timeout", "timeout_s", default=5.0, show_default=True, help="Seconds to wait for the answer.")
@json_option
@reporting
def health_command(address: str, security: app.Security, service: str, timeout_s: float, as_json: bool) -> None:
    """Tell whether the service takes calls.

    Exit status 0 when it is SERVING, 1 when not.
    """
    state = app.health_state(address, service, timeout_s, security)
    click.echo(json.dumps({"address": address, "service": service, "state": state}) if as_json else state)
    if state == "UNAVAILABLE":
        click.echo(NO_SERVICE.format(message=f"nobody answers at {address}"), err=True)
    sys.exit(state != "SERVING")
