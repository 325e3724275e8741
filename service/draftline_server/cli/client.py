"""Options and decorators of commands that call a running service."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
import draftline

from .. import access
from ..settings import Settings

DEFAULT_PORT = 50051
PEM = click.Path(exists=True, dir_okay=False, path_type=Path)


def reaching(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command `address` and `security`, built from options that locate the service."""

    @click.option("--address", help=f"Where the service is. Default: where `serve` listens, 127.0.0.1:{DEFAULT_PORT}.")
    @click.option("--ca", type=PEM, help="Use TLS, with a service whose certificate this authority signed, PEM.")
    @click.option("--certificate", type=PEM, help="The caller's own certificate, PEM, if the service wants one.")
    @click.option("--key", type=PEM, help="The key of --certificate, PEM.")
    @click.pass_obj
    @wraps(command)
    def wrapped(
        settings: Settings, /, *arguments: Any, address: str | None, ca: Path | None, certificate: Path | None,
        key: Path | None, **options: Any,
    ) -> Any:  # fmt: skip
        if (certificate is None) is not (key is None) or (certificate is not None and ca is None):
            raise click.UsageError("--certificate and --key go together, with --ca")
        security = access.security(ca, certificate, key) if ca else access.Security()
        if address is None:
            address = f"{settings.host}:{settings.port or DEFAULT_PORT}"
            security = security if ca else access.own_security(settings)
        return command(*arguments, address=address, security=security, **options)

    return wrapped


def with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command a client as its first argument, built from options for the service, tenant and caller."""

    @reaching
    @click.option("--tenant", required=True, help="The organisation that owns the data.")
    @click.option("--user", help="On whose behalf, where callers are not authenticated. Default: dev.")
    @click.option("--token", envvar="DRAFTLINE_TOKEN", show_envvar=True, help="A token or the key of a service.")
    @wraps(command)
    def wrapped(
        *arguments: Any, address: str, security: access.Security, tenant: str, user: str | None, token: str | None,
        **options: Any,
    ) -> Any:  # fmt: skip
        with draftline.Client(
            address, tenant_id=tenant, user=user, token=token,
            credentials=security.credentials, options=security.options,
        ) as client:  # fmt: skip
            return command(client, *arguments, **options)

    return wrapped
