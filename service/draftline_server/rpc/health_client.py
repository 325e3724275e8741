"""A client of grpc.health.v1, with which commands check a running service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import grpc
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from .services.health import WARNING
from .tls import TlsFiles


@dataclass(frozen=True, slots=True)
class ChannelSecurity:
    """The TLS credentials and options of a channel; without credentials the channel is plain text."""

    credentials: grpc.ChannelCredentials | None = None
    options: tuple[tuple[str, str], ...] = ()


def channel_security(ca: Path, certificate: Path | None, key: Path | None) -> ChannelSecurity:
    """Return TLS settings that trust this authority and present the client certificate, if one is given."""
    pair = (key.read_bytes(), certificate.read_bytes()) if key is not None and certificate is not None else (None, None)
    return ChannelSecurity(grpc.ssl_channel_credentials(ca.read_bytes(), *pair))


def pinned_security(files: TlsFiles) -> ChannelSecurity:
    """Return TLS settings that trust exactly the service's own certificate in `files`, whatever its name."""
    pair = (files.certificate, files.key) if files.client_ca is not None else (None, None)
    own = channel_security(files.certificate, *pair)
    name = _certificate_name(x509.load_pem_x509_certificate(files.certificate.read_bytes()))
    return ChannelSecurity(own.credentials, (("grpc.ssl_target_name_override", name),) if name else ())


class HealthState(NamedTuple):
    """SERVING, NOT_SERVING, SERVICE_UNKNOWN or, if the call fails, its gRPC status code.

    `warning` describes a problem that does not stop the service, such as a wrong clock; it is empty if there is none.
    """

    name: str
    warning: str = ""


def check_health(address: str, service: str, timeout_s: float, security: ChannelSecurity) -> HealthState:
    """Return the health of a service."""
    with _channel(address, security) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer, call = stub.Check.with_call(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
        except grpc.RpcError as failure:
            return HealthState(failure.code().name)
        warning = dict(call.trailing_metadata() or ()).get(WARNING, "")
        return HealthState(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status), str(warning))


def _channel(address: str, security: ChannelSecurity) -> grpc.Channel:
    if security.credentials is None:
        return grpc.insecure_channel(address)
    return grpc.secure_channel(address, security.credentials, security.options)


def _certificate_name(certificate: x509.Certificate) -> str:
    """Return a name that the certificate is valid for, or an empty string if it has none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    names_found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return names_found[0].replace("*", "draftline") if names_found else ""
