"""Options and decorators of commands that call a running service."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
import draftline

from ..rpc.health_client import ChannelSecurity
from ..settings import Settings
from .addresses import check_address
from .app import NotReachedError
from .tls_files import security_of_options, security_of_settings
from .tls_hints import TlsOptions, tls_hint

DEFAULT_PORT = 50051
# A person waits for the answer: a service that is not running is reported after a few attempts.
RETRY = draftline.Retry(wait_for_connection=False)
TLS = "draftline.tls"  # the TlsOptions of the call, in click's context
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
        security = security_of_options(ca, certificate, key) if ca else ChannelSecurity()
        if address is None:
            address = f"{settings.server.host}:{settings.server.port or DEFAULT_PORT}"
            security = security if ca else security_of_settings(settings.tls)
        else:
            check_address(address)
        tls = TlsOptions(security.credentials is not None, ca, certificate, key)
        click.get_current_context().meta[TLS] = tls
        try:
            return command(*arguments, address=address, security=security, **options)
        except draftline.UnavailableError as error:
            hint = tls_hint(address, tls)
            if not hint:
                raise
            raise NotReachedError(f"{error}\n{hint}") from error

    return wrapped


def with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command a client as its first argument, built from options for the service, tenant and caller."""
    return click.option("--tenant", required=True, help="The tenant that owns the data.")(with_operator_client(command))


def with_operator_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command a client of no tenant as its first argument, built from options for the service and caller."""

    @reaching
    @click.option("--user", help="The acting user, if the service does not authenticate callers. Default: dev.")
    @click.option("--token", envvar="DRAFTLINE_TOKEN", show_envvar=True, help="A token or a service key.")
    @wraps(command)
    def wrapped(
        *arguments: Any, address: str, security: ChannelSecurity, user: str | None, token: str | None,
        tenant: str | None = None, **options: Any,
    ) -> Any:  # fmt: skip
        with draftline.Client(
            address, tenant_id=tenant, user=user, token=token,
            credentials=security.credentials, options=security.options, retry=RETRY,
        ) as client:  # fmt: skip
            return command(client, *arguments, **options)

    return wrapped
