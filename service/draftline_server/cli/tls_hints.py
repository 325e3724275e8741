"""Find out why a service could not be called, by a TLS handshake of its own, which sends nothing else."""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

PROBE_S = 2.0
AFTER_S = 0.5  # a service that demands a client certificate ends the connection after the handshake
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF_WHILE_READING")


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """The files that a command calls with; `ca` is None for the service's own settings, whose certificate is pinned."""

    is_used: bool
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def tls_hint(address: str, options: TlsOptions) -> str:
    """Return a sentence if the TLS of the service and that of the command do not fit, and "" if they seem to."""
    host, _, port = address.removeprefix("dns:///").rpartition(":")
    if not port.isdecimal():
        return ""
    to = (host.strip("[]"), int(port))
    try:
        speaks_tls = _speaks_tls(to)
        if speaks_tls is not options.is_used:
            return (
                f"The service at {address} uses TLS: pass --ca with the file of its certificate authority."
                if speaks_tls
                else f"The service at {address} does not use TLS: omit --ca."
            )
        return _certificate_hint(address, to, options) if options.ca is not None else ""
    except OSError:
        return ""


def _certificate_hint(address: str, to: tuple[str, int], options: TlsOptions) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(options.ca)
    if options.certificate is not None and options.key is not None:
        context.load_cert_chain(options.certificate, options.key)
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection(to, PROBE_S) as plain, context.wrap_socket(plain, server_hostname=to[0]) as tls:
            tls.settimeout(AFTER_S)
            if tls.recv(1):  # the service speaks HTTP/2, so TLS is not the problem
                return ""
    except ssl.SSLCertVerificationError as error:
        reason = re.sub(r"\.$", "", error.verify_message)
        return (
            f"The certificate of the service at {address} is not accepted with --ca {options.ca}: {reason}. Pass its "
            "certificate authority, and call the service by a name that its certificate has."
        )
    except TimeoutError:
        return ""
    except (ssl.SSLError, ConnectionError):  # an alert, which some servers send
        pass
    if options.certificate is None:
        fix = "it demands a client certificate; pass --certificate and --key"
        return f"The service at {address} ends the connection after the TLS handshake. It may be that {fix}."
    return f"The service at {address} does not accept the client certificate {options.certificate}."


def _speaks_tls(to: tuple[str, int]) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only the handshake counts
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection(to, PROBE_S) as plain:
            context.wrap_socket(plain).close()
    except ssl.SSLError as error:
        return error.reason not in _NO_TLS
    return True
