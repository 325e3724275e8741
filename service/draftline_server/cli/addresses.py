"""Checks and hints before a command calls or starts a service: its address, and its TLS."""

from __future__ import annotations

import re
import socket
import ssl

import click

from ..settings import TlsSettings

PROBE_S = 2.0
EXAMPLE = "127.0.0.1:50051"
TARGETS = ("dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds")  # schemes of gRPC
_HOST_AND_PORT = re.compile(r"(?:\[[^\[\]\s]+\]|[^\[\]:/\s]+):(\d{1,5})", re.ASCII)


def check_address(address: str) -> None:
    """Raise UsageError unless the address is a host and a port, or a target of gRPC such as unix:/run/d.sock."""
    scheme, separator, rest = address.partition("://")
    if separator and scheme.lower() not in TARGETS:
        hint = "; pass --ca for TLS" if scheme.lower() in ("https", "grpcs") else ""
        example = rest.partition("/")[0]
        example = example if _HOST_AND_PORT.fullmatch(example) else EXAMPLE
        raise click.UsageError(f"--address is a host and a port, such as {example}, without {scheme}://{hint}")
    if address.partition(":")[0].lower() in TARGETS and not _HOST_AND_PORT.fullmatch(address):
        return
    found = _HOST_AND_PORT.fullmatch(address)
    if found is None or not 0 < int(found[1]) < 2**16:
        ipv6 = "; an IPv6 address is written in brackets: [::1]:50051" if address.count(":") > 1 else ""
        raise click.UsageError(
            f"--address is a host and a port from 1 to 65535, such as {EXAMPLE}; {address!r} is not{ipv6}"
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
