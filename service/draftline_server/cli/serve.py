"""`draftline serve`: run the service until it is stopped."""

from __future__ import annotations

import click
import structlog
import uvloop

from ..app import App
from ..observability import logs
from ..ops import migrate
from ..ops.signals import stop_with_parent
from ..processes import run as supervised
from ..processes import single
from ..settings import Settings
from .addresses import check_tls_files
from .app import reporting
from .database_url import database_url, temporary_url


@click.command("serve")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Number of worker processes that share the port. Default: DRAFTLINE_WORKERS, or 1.",
)
@click.option("--temporary", is_flag=True, help="Use a new embedded PostgreSQL, and delete its data at the end.")
@click.option("--stop-with", "parent", type=int, hidden=True, help="Stop when this parent process has ended.")
@click.pass_obj
@reporting
def serve_command(settings: Settings, workers: int | None, temporary: bool, parent: int | None) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Uses the PostgreSQL of DRAFTLINE_DATABASE_URL, which must be migrated, or else an embedded one with its data in
    DRAFTLINE_DATA_DIR, or with --temporary an embedded one without durability, for tests.
    """
    settings = settings.replaced(workers=workers or settings.server.workers)
    if temporary and settings.database.url:
        raise click.UsageError("--temporary uses a database of its own: unset DRAFTLINE_DATABASE_URL")
    logs.configure_queued(settings.log.format, settings.log.level)
    check_tls_files(settings.tls)
    if parent is not None:
        stop_with_parent(parent)
    with temporary_url(settings) if temporary else database_url(settings) as url:
        if settings.server.workers > 1:
            uvloop.run(supervised.serve(settings, url, migrate.head()))
        else:
            uvloop.run(single.serve(settings, url, migrate.head(), serving=_tell))


def _tell(running: App) -> None:
    structlog.get_logger().info("serving", address=running.address, metrics_port=running.metrics_port)
