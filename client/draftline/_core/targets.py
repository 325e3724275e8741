"""The address of a service, and what to do about calls that do not get there."""

from __future__ import annotations

import re

import grpc

from draftline._core.retries import is_unconnected
from draftline.errors import DraftlineError

# The schemes of gRPC's resolvers, whose addresses are passed on as they are.
_SCHEMES = ("dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds", "google-c2p", "passthrough")
_HOST_AND_PORT = re.compile(r"(?:\[[^\[\]\s]+\]|[^\[\]:/\s]+):(\d{1,5})", re.ASCII)
_EXAMPLE = "127.0.0.1:50051"
_TOO_LARGE = re.compile(r"(Sent|Received) message larger than max \((\d+) vs\. (\d+)\)")

# What texts of gRPC about a failed connection mean, with TLS and without it.
_WITH_TLS = {
    "WRONG_VERSION_NUMBER": "what listens there does not use TLS: leave out `credentials`",
    "CERTIFICATE_VERIFY_FAILED": (
        "its certificate is not trusted: pass the certificate of its authority to grpc.ssl_channel_credentials"
    ),
    "Hostname Verification": "its certificate is not valid for this host: use a name that the certificate has",
    "Socket closed": "it ended the connection: it may demand a client certificate",
}
_WITHOUT_TLS = {
    "Socket closed": "it may use TLS: pass `credentials`, such as grpc.ssl_channel_credentials()",
    "Failed parsing HTTP/2": "what listens there is no gRPC service, or uses TLS",
}
_ALWAYS = {"DNS resolution failed": "the host is unknown", "Connection refused": "nothing listens there"}


def check_target(target: str) -> None:
    """Raise ValueError unless the target is a host and a port, or has a scheme of gRPC, such as unix:/run/d.sock."""
    scheme, separator, rest = target.partition("://")
    if separator and scheme.lower() not in _SCHEMES:
        example = rest.partition("/")[0]
        example = example if _HOST_AND_PORT.fullmatch(example) else _EXAMPLE
        raise ValueError(
            f"target must be host:port, such as {example}, without {scheme}://; for TLS, pass `credentials`"
        )
    if target.partition(":")[0].lower() in _SCHEMES and not _HOST_AND_PORT.fullmatch(target):
        return
    found = _HOST_AND_PORT.fullmatch(target)
    if found is None or not 0 < int(found[1]) < 1 << 16:
        hint = "; an IPv6 address is written in brackets: [::1]:50051" if target.count(":") > 1 else ""
        raise ValueError(f"target must be host:port, such as {_EXAMPLE}, with a port up to 65535, not {target!r}{hint}")


def explained(error: DraftlineError, target: str, *, uses_tls: bool) -> DraftlineError:
    """Return the error; if gRPC reports a failed connection or a size, its message says what that means here."""
    if is_unconnected(error):
        known = {**(_WITH_TLS if uses_tls else _WITHOUT_TLS), **_ALWAYS}
        advice = next((f": {advice}" for text, advice in known.items() if text in error.message), "")
        _add(error, f"target {target}, {'with' if uses_tls else 'without'} TLS{advice}")
    elif error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and (size := _TOO_LARGE.search(error.message)):
        what = "the request has" if size[1] == "Sent" else "the response has"
        fix = "send less in one call" if size[1] == "Sent" else "request fewer records or `fields`"
        _add(error, f"{what} {int(size[2]):,} bytes, at most {int(size[3]):,} are possible: {fix}")
    return error


def _add(error: DraftlineError, text: str) -> None:
    error.message = f"{error.message}; {text}"
    error.args = (error.code, error.message, *error.args[2:])
