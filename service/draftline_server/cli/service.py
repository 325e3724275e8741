"""Commands for who runs the service: `serve`, `migrate`, `health`."""

from __future__ import annotations

import sys

import click
import structlog
import uvloop

from .. import app, supervised
from ..ops import migrate
from ..settings import Settings
from .client import reaching
from .group import database, reporting


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
@click.pass_obj
@reporting
def migrate_command(settings: Settings, check: bool, revision: str) -> None:
    """Bring the database to the schema of this version."""
    if check:
        found = migrate.check_in_scratch(settings.postgres_bin)
        for difference in found:
            click.echo(f"not in step: {difference}")
        click.echo("models and migrations are in step" if not found else "models and migrations differ")
        sys.exit(bool(found))
    with database(settings, migrated=False) as url:
        click.echo(f"the database is at revision {migrate.go_to(url, revision)}")


@click.command("health")
@reaching
@click.option("--service", default="", help="A service by its full name, as draftline.v1.ContentService. Default: all.")
@click.option("--timeout", "timeout_s", default=5.0, show_default=True, help="Seconds to wait for the answer.")
@reporting
def health_command(address: str, security: app.Security, service: str, timeout_s: float) -> None:
    """Tell whether the service takes calls: exit status 0 when it is SERVING, 1 when not."""
    state = app.health_state(address, service, timeout_s, security)
    click.echo(state)
    sys.exit(state != "SERVING")
