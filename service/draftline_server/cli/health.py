"""`draftline health`: check whether the service accepts calls."""

from __future__ import annotations

import sys

import click

from ..rpc.health_client import ChannelSecurity, check_health
from .app import NO_SERVICE, json_option, reporting
from .client import TLS, reaching
from .terminal_text import echo, echo_result
from .tls_hints import tls_hint

# What a state says if no service has responded, by the status code of the call.
SILENT = {
    "UNAVAILABLE": NO_SERVICE.format(message="no service responds at {address}"),
    "DEADLINE_EXCEEDED": (
        "no service responded at {address} within {timeout_s:g} s: it is overloaded or stopped, or another program "
        "listens there"
    ),
    "UNIMPLEMENTED": "the program at {address} speaks gRPC, but is not a Draftline service: correct the address",
}


@click.command("health")
@reaching
@click.option(
    "--service",
    default="",
    help="Full name of a gRPC service, such as draftline.v1.ContentService. Default: the whole server.",
)
@click.option("--timeout", "timeout_s", default=5.0, show_default=True, help="Seconds to wait for the response.")
@json_option
@reporting
def health_command(address: str, security: ChannelSecurity, service: str, timeout_s: float, as_json: bool) -> None:
    """Report whether the service accepts calls.

    The exit status is 0 if it is SERVING, and 1 if not.
    """
    state, warning = check_health(address, service, timeout_s, security)
    result = {"address": address, "service": service, "state": state, **({"warning": warning} if warning else {})}
    echo_result(result, state, as_json=as_json)
    if warning and not as_json:
        echo(f"warning: {warning}", err=True)
    if state in SILENT:
        hint = tls_hint(address, click.get_current_context().meta[TLS])
        echo(hint or SILENT[state].format(address=address, timeout_s=timeout_s), err=True)
    sys.exit(state != "SERVING")
