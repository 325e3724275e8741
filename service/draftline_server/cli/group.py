"""The command group, and what its commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import click
import structlog
from draftline import DraftlineError, UnavailableError
from pydantic import ValidationError

from ..app import CheckError
from ..ops import logs, migrate
from ..ops.bench import BenchError
from ..ops.postgres import EmbeddedPostgres, EmbeddedPostgresError
from ..settings import Settings
from ..store.engine import connections_of
from ..store.schema import SchemaError
from ..supervised import WorkerError

EXPECTED = (BenchError, CheckError, EmbeddedPostgresError, SchemaError, WorkerError, OSError, ValueError, TypeError)
OTHERS = 20  # connections to the embedded PostgreSQL that are left to others, and to its superuser
OUT_OF_REACH = "{message}\nIs the service running there? `draftline serve` starts it."


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="draftline-server")
@click.pass_context
def main(context: click.Context) -> None:
    """Draftline: atomic JSON patches, drafts and live merged reads over PostgreSQL.

    Settings come from the environment, as DRAFTLINE_ and a name; README.md lists them.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        problems = "\n".join(
            f"  {_named(problem['loc'])}{problem['msg'].removeprefix('Value error, ')}" for problem in error.errors()
        )
        raise click.ClickException(f"these settings cannot be used:\n{problems}") from None
    logs.configure(settings.log_format, settings.log_level)
    context.obj = settings


def _named(place: tuple[int | str, ...]) -> str:
    """The setting; nothing for what several of them have to do with each other."""
    return f"DRAFTLINE_{place[0]}: ".upper() if place else ""


def reporting(command: Callable[..., Any]) -> Callable[..., Any]:
    """What can be expected to go wrong is told in a line, without a stack trace."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except UnavailableError as error:
            raise click.ClickException(OUT_OF_REACH.format(message=error)) from error
        except (*EXPECTED, DraftlineError) as error:
            raise click.ClickException(str(error)) from error

    return wrapped


@contextmanager
def database(settings: Settings, *, migrated: bool = True) -> Iterator[str]:
    """The user's PostgreSQL as it is, or the embedded one, started and migrated."""
    if settings.database_url:
        yield settings.database_url
        return
    log = structlog.get_logger()
    connections = max(100, settings.workers * connections_of(settings.pool_size) + OTHERS)
    with EmbeddedPostgres(settings.data_dir, binaries=settings.postgres_bin, connections=connections) as postgres:
        log.info("postgres_started", data_dir=str(settings.data_dir))
        if migrated:
            log.info("migrated", revision=migrate.upgrade(postgres.url))
        yield postgres.url
