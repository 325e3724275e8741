"""TLS from PEM files that may be replaced while the server runs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ..auth.hot_reload import ReloadingValue

INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. Callers need a certificate signed by `client_ca`; None means that they need none.

    Optional client certificates are not supported: grpc in Python does not request them.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


class TlsFileError(ValueError):
    """TLS files that cannot be used. `fields` are the fields of TlsFiles that the message is about."""

    def __init__(self, message: str, *fields: str) -> None:
        super().__init__(message)
        self.fields = fields


class Tls:
    """Server credentials that reload the files: new connections use the last valid version."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._source = ReloadingValue(
            "the TLS certificate", partial(asyncio.to_thread, self._read), configuration, INTERVAL_S
        )
        self._served: grpc.ServerCertificateConfiguration | None = None

    async def start(self) -> grpc.ServerCredentials:
        """Read the files and start reloading them. Raises ValueError if they cannot be used."""
        await self._source.start()
        self._served = self._source.value
        current: Any = self._served  # the stubs do not declare None, which means no change
        new_configuration: Any = self._new_configuration
        return grpc.dynamic_ssl_server_credentials(current, new_configuration, self._files.client_ca is not None)

    async def close(self) -> None:
        await self._source.close()

    def _new_configuration(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new configuration, or None if unchanged. grpc calls this per connection, on its own thread."""
        if self._source.value is self._served:
            return None
        self._served = self._source.value
        return self._served

    def _read(self) -> tuple[bytes, bytes, bytes | None]:
        files = self._files
        client_ca = None if files.client_ca is None else files.client_ca.read_bytes()
        return files.certificate.read_bytes(), files.key.read_bytes(), client_ca


def configuration(pem: tuple[bytes, bytes, bytes | None]) -> grpc.ServerCertificateConfiguration:
    """Build a configuration from the certificate, the key and the client CA, all PEM.

    Raises TlsFileError for errors that grpc would report only when a client connects, such as a key that does not match
    the certificate.
    """
    chain, key, client_ca = pem
    certificate = _certificates(chain, "the certificate", "certificate")[0]
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        expired = f"the certificate expired at {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
        raise TlsFileError(expired, "certificate")
    try:
        public = load_pem_private_key(key, password=None).public_key()
    except (ValueError, TypeError):
        raise TlsFileError("the key is not an unencrypted PEM key", "key") from None
    encoding = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if public.public_bytes(*encoding) != certificate.public_key().public_bytes(*encoding):
        raise TlsFileError("the key does not match the certificate", "key", "certificate")
    if client_ca is not None:
        _certificates(client_ca, "the client CA", "client_ca")
    return grpc.ssl_server_certificate_configuration([(key, chain)], client_ca)


def _certificates(pem: bytes, name: str, field: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise TlsFileError(f"{name} is not a PEM certificate", field) from None
