"""`draftline serve`: run the service until it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import structlog
from pydantic import ValidationError

from ..observability import logs
from ..ops import revisions
from ..ops.signals import stop_with_parent
from ..settings import PREFIX, SETTINGS, AuthSettings, Settings, SettingsFileError, TlsSettings, sources_of
from .app import CONFIG, SettingsError, reporting, settings_error, warn_of_names
from .database_url import database_url

if TYPE_CHECKING:
    from ..app import App

SERVICE = "draftline_server.processes.single"


def _setting_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command `flags`, a flag for each setting, by the names of the settings."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        flags = {name: options.pop(_parameter(name)) for name in SETTINGS}
        given = {name: value for name, value in flags.items() if value is not None}
        return command(*arguments, flags=given, **options)

    for setting in reversed([*SETTINGS.values()]):
        name = setting.name.removeprefix(PREFIX).lower()
        text = (setting.info.description or "").replace("\n", " ")
        option = click.option(f"--{name.replace('_', '-')}", _parameter(setting.name), metavar="VALUE", help=text)
        wrapped = option(wrapped)
    return wrapped


def _parameter(name: str) -> str:
    return f"setting_{name.lower()}"


@click.command("serve")
@_setting_flags
@click.option("--temporary", is_flag=True, help="Use a new embedded PostgreSQL, and delete its data at the end.")
@click.option("--stop-with", "parent", type=int, hidden=True, help="Stop when this parent process has ended.")
@click.pass_context
@reporting
def serve_command(context: click.Context, temporary: bool, parent: int | None, flags: Mapping[str, str]) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Uses the PostgreSQL of DRAFTLINE_DATABASE_URL, which must be migrated, or else an embedded one with its data in
    DRAFTLINE_DATA_DIR, or with --temporary an embedded one without durability, for tests.

    There is a flag for each setting, which overrides its variable, which overrides draftline.toml.
    """
    settings = _settings(flags, context.meta.get(CONFIG))
    if temporary and settings.database.url:
        raise click.UsageError("--temporary uses a database of its own: unset DRAFTLINE_DATABASE_URL")
    logs.configure_queued(settings.log.format, settings.log.level)
    if settings.auth != AuthSettings() or settings.tls != TlsSettings():
        _check_files(settings)
    if parent is not None:
        stop_with_parent(parent)
    with _temporary_url(settings) if temporary else database_url(settings) as url:
        _serve(settings, url)


# These functions import what they need: that takes most of a start, and a temporary database is created meanwhile.


def _check_files(settings: Settings) -> None:
    from .tls_files import check_setting_files  # noqa: PLC0415

    check_setting_files(settings)


def _temporary_url(settings: Settings) -> AbstractContextManager[str]:
    from .embedded_database import temporary_url  # noqa: PLC0415

    return temporary_url(settings, needed_later=SERVICE)


def _serve(settings: Settings, url: str) -> None:
    import uvloop  # noqa: PLC0415

    if settings.server.workers > 1:
        from ..processes import run  # noqa: PLC0415

        uvloop.run(run.serve(settings, url, revisions.head()))
    else:
        from ..processes import single  # noqa: PLC0415

        uvloop.run(single.serve(settings, url, revisions.head(), serving=_tell))


def _tell(running: App) -> None:
    structlog.get_logger().info("serving", address=running.address, metrics_port=running.metrics_port)


def _settings(flags: Mapping[str, str], file: Path | None) -> Settings:
    try:
        settings, _ = Settings.from_sources(flags, file)
    except ValidationError as error:
        raise settings_error(error, sources_of(flags, file)) from None
    except SettingsFileError as error:
        raise SettingsError(str(error)) from None
    logs.configure(settings.log.format, settings.log.level)
    warn_of_names()
    return settings
