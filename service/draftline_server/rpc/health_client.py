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
class Security:
    """The TLS credentials and options of a channel; without credentials the channel is plain text."""

    credentials: grpc.ChannelCredentials | None = None
    options: tuple[tuple[str, str], ...] = ()


def security(ca: Path, certificate: Path | None, key: Path | None) -> Security:
    """Return TLS settings that trust this authority and present the client certificate, if one is given."""
    pair = (key.read_bytes(), certificate.read_bytes()) if key is not None and certificate is not None else (None, None)
    return Security(grpc.ssl_channel_credentials(ca.read_bytes(), *pair))


def own_security(files: TlsFiles) -> Security:
    """Return TLS settings that trust exactly the service's own certificate in `files`, whatever its name."""
    pair = (files.certificate, files.key) if files.client_ca is not None else (None, None)
    own = security(files.certificate, *pair)
    name = _name(x509.load_pem_x509_certificate(files.certificate.read_bytes()))
    return Security(own.credentials, (("grpc.ssl_target_name_override", name),) if name else ())


class State(NamedTuple):
    """SERVING, NOT_SERVING, SERVICE_UNKNOWN or, if the call fails, its gRPC status code.

    `warning` describes a problem that does not stop the service, such as a wrong clock; it is empty if there is none.
    """

    name: str
    warning: str = ""


def state(address: str, service: str, timeout_s: float, reached: Security) -> State:
    """Return the health of a service."""
    with _channel(address, reached) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer, call = stub.Check.with_call(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
        except grpc.RpcError as failure:
            return State(failure.code().name)
        warning = dict(call.trailing_metadata() or ()).get(WARNING, "")
        return State(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status), str(warning))


def _channel(address: str, reached: Security) -> grpc.Channel:
    if reached.credentials is None:
        return grpc.insecure_channel(address)
    return grpc.secure_channel(address, reached.credentials, reached.options)


def _name(certificate: x509.Certificate) -> str:
    """Return a name that the certificate is valid for, or an empty string if it has none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    told = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return told[0].replace("*", "draftline") if told else ""
