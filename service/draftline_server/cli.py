"""The command line: `draftline serve | migrate | ...`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import click
import structlog
import uvloop
from pydantic import ValidationError

from . import app
from .ops import logs, migrate
from .ops.postgres import EmbeddedPostgres, EmbeddedPostgresError
from .settings import Settings
from .store.schema import SchemaError

EXPECTED = (EmbeddedPostgresError, SchemaError, OSError, ValueError)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="draftline-server")
@click.pass_context
def main(context: click.Context) -> None:
    """Draftline: atomic JSON patches, drafts and live merged reads over PostgreSQL."""
    try:
        settings = Settings()
    except ValidationError as error:
        problems = "\n".join(f"  DRAFTLINE_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise click.ClickException(f"these settings cannot be used:\n{problems}") from None
    logs.configure(settings.log_format, settings.log_level)
    context.obj = settings


def reporting(command: Callable[..., Any]) -> Callable[..., Any]:
    """What can be expected to go wrong is told in a line, without a stack trace."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except EXPECTED as error:
            raise click.ClickException(str(error)) from error

    return wrapped


@contextmanager
def database(settings: Settings, *, migrated: bool = True) -> Iterator[str]:
    """The user's PostgreSQL as it is, or the embedded one, started and migrated."""
    if settings.database_url:
        yield settings.database_url
        return
    log = structlog.get_logger()
    with EmbeddedPostgres(settings.data_dir, binaries=settings.postgres_bin) as postgres:
        log.info("postgres_started", data_dir=str(settings.data_dir))
        if migrated:
            log.info("migrated", revision=migrate.upgrade(postgres.url))
        yield postgres.url


@main.command()
@click.pass_obj
@reporting
def serve(settings: Settings) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    with database(settings) as url:
        uvloop.run(app.serve(settings, url, migrate.head()))


@main.command("migrate")
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
