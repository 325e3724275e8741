"""Generate certificates for tests."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path) -> dict[str, Path]:
        """Write the certificate and key of a server to files, and return its settings."""
        files = {"tls_certificate_file": self.certificate, "tls_key_file": self.key}
        for name, content in files.items():
            new = folder / f"{name}.new"
            new.write_bytes(content)
            new.replace(folder / name)
        return {name: folder / name for name in files}


class Authority:
    def __init__(self, name: str) -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority {name}")])
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(self._name, self._key, timedelta(days=1))
        made = builder.issuer_name(self._name).add_extension(x509.BasicConstraints(True, None), True)
        self.certificate = made.sign(self._key, SHA256()).public_bytes(Encoding.PEM)

    def issue(self, name: str = "server", lifetime: timedelta = timedelta(days=1)) -> Pair:
        """Issue a certificate for loopback."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, lifetime)
        made = builder.issuer_name(self._name).add_extension(x509.SubjectAlternativeName(names), False)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Pair(made.sign(self._key, SHA256()).public_bytes(Encoding.PEM), pem)

    def channel(self, address: str, client: Pair | None = None) -> grpc.Channel:
        """Open a channel to a server whose certificate is issued by this authority."""
        own = {"private_key": client.key, "certificate_chain": client.certificate} if client else {}
        credentials = grpc.ssl_channel_credentials(self.certificate, **own)
        return grpc.secure_channel(address, credentials, [("grpc.use_local_subchannel_pool", 1)])


def _builder(name: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + lifetime)
    )
