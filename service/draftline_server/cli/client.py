"""Options and decorators of commands that call a running service."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
import draftline

from ..rpc.health_client import ChannelSecurity, channel_security
from ..settings import Settings
from ..wiring import own_security

DEFAULT_PORT = 50051
PEM = click.Path(exists=True, dir_okay=False, path_type=Path)


def reaching(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command `address` and `security`, built from options that locate the service."""

    @click.option(
        "--address", help=f"The service's address. Default: that of `draftline serve`, 127.0.0.1:{DEFAULT_PORT}."
    )
    @click.option("--ca", type=PEM, help="Connect with TLS, and trust this certificate authority (PEM file).")
    @click.option("--certificate", type=PEM, help="Client certificate for mutual TLS (PEM file).")
    @click.option("--key", type=PEM, help="Private key of --certificate (PEM file).")
    @click.pass_obj
    @wraps(command)
    def wrapped(
        settings: Settings, /, *arguments: Any, address: str | None, ca: Path | None, certificate: Path | None,
        key: Path | None, **options: Any,
    ) -> Any:  # fmt: skip
        if (certificate is None) is not (key is None) or (certificate is not None and ca is None):
            raise click.UsageError("--certificate and --key require each other, and --ca")
        security = channel_security(ca, certificate, key) if ca else ChannelSecurity()
        if address is None:
            address = f"{settings.server.host}:{settings.server.port or DEFAULT_PORT}"
            security = security if ca else own_security(settings.tls)
        return command(*arguments, address=address, security=security, **options)

    return wrapped


def with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command a client as its first argument, built from options for the service, tenant and caller."""

    @reaching
    @click.option("--tenant", required=True, help="The tenant that owns the data.")
    @click.option("--user", help="The acting user, if the service does not authenticate callers. Default: dev.")
    @click.option("--token", envvar="DRAFTLINE_TOKEN", show_envvar=True, help="A token or a service key.")
    @wraps(command)
    def wrapped(
        *arguments: Any, address: str, security: ChannelSecurity, tenant: str, user: str | None, token: str | None,
        **options: Any,
    ) -> Any:  # fmt: skip
        with draftline.Client(
            address, tenant_id=tenant, user=user, token=token,
            credentials=security.credentials, options=security.options,
        ) as client:  # fmt: skip
            return command(client, *arguments, **options)

    return wrapped
