"""`draftline serve`: run the service until it is stopped."""

from __future__ import annotations

import click
import structlog
import uvloop

from .. import app
from ..observability import logs
from ..ops import migrate
from ..processes import run as supervised
from ..settings import Settings
from .app import reporting
from .database_url import database_url


@click.command("serve")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Number of worker processes that share the port. Default: DRAFTLINE_WORKERS, or 1.",
)
@click.pass_obj
@reporting
def serve_command(settings: Settings, workers: int | None) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Uses the PostgreSQL of DRAFTLINE_DATABASE_URL, which must be migrated, or else an embedded one with its data in
    DRAFTLINE_DATA_DIR.
    """
    settings = settings.model_copy(update={"workers": workers or settings.workers})
    logs.configure_queued(settings.log_format, settings.log_level)
    with database_url(settings) as url:
        if settings.workers > 1:
            uvloop.run(supervised.serve(settings, url, migrate.head()))
        else:
            uvloop.run(app.serve(settings, url, migrate.head(), serving=_tell))


def _tell(running: app.App) -> None:
    structlog.get_logger().info("serving", address=running.address, metrics_port=running.metrics_port)
