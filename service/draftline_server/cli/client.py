"""How commands reach a running service."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
import draftline

from ..settings import Settings

DEFAULT_PORT = 50051


def _own_address(context: click.Context, _: click.Parameter, given: str | None) -> str:
    settings = context.find_object(Settings)
    if given or settings is None:
        return given or f"127.0.0.1:{DEFAULT_PORT}"
    return f"{settings.host}:{settings.port or DEFAULT_PORT}"


address_option = click.option(
    "--address",
    callback=_own_address,
    help=f"Where the service is. Default: where `draftline serve` listens, 127.0.0.1:{DEFAULT_PORT}.",
)


def with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command a client as its first argument, made from options that say where and who."""

    @address_option
    @click.option("--tenant", required=True, help="The organisation that owns the data.")
    @click.option("--user", help="On whose behalf. Default: dev.")
    @wraps(command)
    def wrapped(*arguments: Any, address: str, tenant: str, user: str | None, **options: Any) -> Any:
        with draftline.Client(address, tenant_id=tenant, user=user) as client:
            return command(client, *arguments, **options)

    return wrapped
