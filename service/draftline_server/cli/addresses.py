"""Checks and hints before a command calls or starts a service: its address, and its TLS."""

from __future__ import annotations

import socket
import ssl

import click

from ..settings import TlsSettings

PROBE_S = 2.0


def check_address(address: str) -> None:
    """Raise UsageError for a web address, which gRPC would try to resolve as a name."""
    scheme, separator, rest = address.partition("://")
    if separator and scheme in ("http", "https", "grpc", "grpcs"):
        hint = "; pass --ca for TLS" if scheme in ("https", "grpcs") else ""
        raise click.UsageError(
            f"--address is a host and a port, such as {rest.rstrip('/') or '127.0.0.1:50051'}, without {scheme}://{hint}"
        )


def check_tls_files(tls: TlsSettings) -> None:
    """Raise ClickException if a TLS file of the settings cannot be read."""
    files = {"CERTIFICATE": tls.certificate_file, "KEY": tls.key_file, "CLIENT_CA": tls.client_ca_file}
    for name, path in files.items():
        try:
            if path is not None:
                path.open("rb").close()
        except OSError as error:
            message = f"DRAFTLINE_TLS_{name}_FILE: {path} cannot be read: {error.strerror}"
            raise click.ClickException(message) from error


def tls_hint(address: str, *, uses_tls: bool) -> str:
    """Return a sentence if the service at the address uses TLS and the command does not, or the reverse; else ""."""
    host, _, port = address.removeprefix("dns:///").rpartition(":")
    if not port.isdecimal():
        return ""
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PROBE_S) as connection:
            speaks_tls = _speaks_tls(connection)
    except OSError:
        return ""
    if speaks_tls and not uses_tls:
        return f"The service at {address} uses TLS: pass --ca with the file of its certificate authority."
    if uses_tls and not speaks_tls:
        return f"The service at {address} does not use TLS: omit --ca."
    return ""


def _speaks_tls(connection: socket.socket) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only the handshake counts; nothing is sent
    context.set_alpn_protocols(["h2"])
    try:
        context.wrap_socket(connection).close()
    except ssl.SSLError as error:
        return error.reason not in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING")
    return True
