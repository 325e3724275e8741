"""`draftline serve`: run the service until it is stopped."""

from __future__ import annotations

import click
import structlog
import uvloop

from ..app import App
from ..observability import logs
from ..ops import migrate
from ..processes import run as supervised
from ..processes import single
from ..settings import Settings
from .addresses import check_tls_files
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
    settings = settings.replaced(workers=workers or settings.server.workers)
    logs.configure_queued(settings.log.format, settings.log.level)
    check_tls_files(settings.tls)
    with database_url(settings) as url:
        if settings.server.workers > 1:
            uvloop.run(supervised.serve(settings, url, migrate.head()))
        else:
            uvloop.run(single.serve(settings, url, migrate.head(), serving=_tell))


def _tell(running: App) -> None:
    structlog.get_logger().info("serving", address=running.address, metrics_port=running.metrics_port)
