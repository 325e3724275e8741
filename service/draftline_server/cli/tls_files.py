"""Check the files of TLS and of authentication, so that a wrong one is reported with its setting or option."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import click
from cryptography import x509

from ..auth import keys
from ..rpc.health_client import ChannelSecurity, channel_security
from ..rpc.tls import TlsFileError, configuration
from ..settings import Settings, TlsSettings
from ..wiring import own_security
from .app import SettingsError


def check_setting_files(settings: Settings) -> None:
    """Raise SettingsError unless the files of TLS and of authentication can be used."""
    _check_tls(settings.tls)
    auth = settings.auth
    sources: tuple[tuple[str, Path | None, Callable[[bytes], object]], ...] = (
        ("AUTH_JWKS", Path(auth.jwks) if auth.jwks and "://" not in auth.jwks else None, keys.public_keys),
        ("AUTH_SECRET_FILE", auth.secret_file, keys.secret_key),
        ("AUTH_SERVICE_KEYS_FILE", auth.service_keys_file, keys.service_keys),
    )
    for name, path, parse in sources:
        if path is not None:
            content = _content(name, path)
            try:
                parse(content)
            except ValueError as error:
                raise SettingsError(f"DRAFTLINE_{name}: {path} cannot be used: {error}") from error


def security_of_settings(tls: TlsSettings) -> ChannelSecurity:
    """Return the security of calls to the service of these settings. Raise SettingsError if a file cannot be used."""
    for name, path in _paths(tls).items():
        if path is not None:
            _content(f"TLS_{name.upper()}_FILE", path)
    try:
        return own_security(tls)
    except ValueError as error:
        message = f"DRAFTLINE_TLS_CERTIFICATE_FILE: {tls.certificate_file} is not a PEM certificate"
        raise SettingsError(message) from error


def security_of_options(ca: Path, certificate: Path | None, key: Path | None) -> ChannelSecurity:
    """Return the security of calls with these options. Raise UsageError if a file cannot be used."""
    for option, path in (("--ca", ca), ("--certificate", certificate)):
        try:
            if path is not None:
                x509.load_pem_x509_certificates(path.read_bytes())
        except ValueError:
            raise click.UsageError(f"{option}: {path} has no certificate in PEM format") from None
        except OSError as error:
            raise click.UsageError(f"{option}: {path} cannot be read: {error.strerror}") from error
    if certificate is not None and key is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, lambda: "")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise click.UsageError(f"--key: {key} is not the private key of {certificate}") from error
            raise click.UsageError(f"--key: {key} is not an unencrypted private key in PEM format") from error
        except OSError as error:
            raise click.UsageError(f"--key: {key} cannot be read: {error.strerror}") from error
    return channel_security(ca, certificate, key)


def _check_tls(tls: TlsSettings) -> None:
    paths = _paths(tls)
    read = {name: _content(f"TLS_{name.upper()}_FILE", path) for name, path in paths.items() if path is not None}
    if not read:
        return
    try:
        configuration((read["certificate"], read["key"], read.get("client_ca")))
    except TlsFileError as error:
        named = " and ".join(f"DRAFTLINE_TLS_{field.upper()}_FILE={paths[field]}" for field in error.fields)
        raise SettingsError(f"{named} cannot be used: {error}") from error


def _paths(tls: TlsSettings) -> dict[str, Path | None]:
    return {"certificate": tls.certificate_file, "key": tls.key_file, "client_ca": tls.client_ca_file}


def _content(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"DRAFTLINE_{name}: {path} cannot be read: {error.strerror}") from error
