"""Check the files that the URL of a PostgreSQL names, so that a wrong file is an invalid setting in every command."""

from __future__ import annotations

import configparser
import os
import re
import ssl
import stat
from collections.abc import Mapping
from pathlib import Path

_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")
PASSWORD_FIELDS = 5
_COLON = re.compile(r"(?<!\\):")
_FOLDER = Path("~/.postgresql")
_SYSTEM_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def with_system_authorities(given: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters with `sslrootcert=system` replaced by the file of the system's certificate authorities.

    As in libpq, it implies `sslmode=verify-full` and raises ValueError beside a weaker mode.
    """
    if given.get("sslrootcert") != "system":
        return dict(given)
    if given.get("sslmode", "verify-full") != "verify-full":
        raise ValueError("parameter sslrootcert=system requires sslmode=verify-full")
    found = ssl.get_default_verify_paths().cafile or next((p for p in _SYSTEM_AUTHORITIES if Path(p).is_file()), None)
    if found is None:
        raise ValueError("parameter sslrootcert=system: this machine has no file of certificate authorities; name one")
    return {**given, "sslmode": "verify-full", "sslrootcert": found}


def check_files(given: Mapping[str, str]) -> None:
    """Raise ValueError if a file cannot be read, holds no certificate, or does not fit the others."""
    for name in _FILES:
        if given.get(name):
            _check_readable(name, Path(given[name]).expanduser())
    _check_authorities(given)
    _check_pair(given)
    if given.get("passfile"):
        _check_passwords(Path(given["passfile"]).expanduser())
    if given.get("service"):
        _check_service(given["service"])


def _check_readable(name: str, file: Path) -> None:
    if file.is_dir():
        raise ValueError(f"parameter {name}: {file} is a directory; name a file")
    if not os.access(file, os.R_OK):
        reason = f"cannot be read by user {os.geteuid()}" if file.exists() else "cannot be read: it does not exist"
        raise ValueError(f"parameter {name}: the file {file} {reason}")


def _check_authorities(given: Mapping[str, str]) -> None:
    mode, default = given.get("sslmode", ""), (_FOLDER / "root.crt").expanduser()
    named = given.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    if mode.startswith("verify-") and not named and not default.exists():
        raise ValueError(
            f"parameter sslmode={mode} needs sslrootcert=FILE with the certificate of the server's authority, or "
            f"sslrootcert=system, because there is no {default}"
        )
    for name, content in (("sslrootcert", "certificate"), ("sslcrl", "certificate revocation list")):
        if given.get(name):
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(Path(given[name]).expanduser())
            except ssl.SSLError as error:
                raise ValueError(f"parameter {name}: the file {given[name]} has no {content} in PEM format") from error


def _check_pair(given: Mapping[str, str]) -> None:
    if not given.get("sslcert"):
        if given.get("sslkey"):
            raise ValueError("parameter sslkey needs sslcert=FILE with the certificate of this key")
        return
    certificate, default = Path(given["sslcert"]).expanduser(), (_FOLDER / "postgresql.key").expanduser()
    key = Path(given["sslkey"]).expanduser() if given.get("sslkey") else default
    if not key.exists():
        raise ValueError(f"parameter sslcert needs sslkey=FILE with the private key of {certificate}")
    password = given.get("sslpassword", "")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, lambda: password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"parameter sslkey: {key} is not the private key of the certificate in {certificate}"
            raise ValueError(message) from error
        raise ValueError(
            f"parameters sslcert and sslkey: {certificate} and {key} cannot be used together; both must be in PEM "
            "format, and an encrypted key needs sslpassword"
        ) from error


def _check_passwords(file: Path) -> None:
    """Raise ValueError if the driver would ignore the file of passwords, or fail at a line of it."""
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"parameter passfile: other users may read {file}, so it would be ignored: chmod 600 {file}")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"parameter passfile: {file} is not UTF-8") from None
    for number, line in enumerate(map(str.strip, lines), start=1):
        if line and not line.startswith("#") and len(_COLON.split(line)) < PASSWORD_FIELDS:
            raise ValueError(
                f"parameter passfile: line {number} of {file} is not host:port:database:user:password, in which a : "
                "of a value is written \\:"
            )


def _check_service(name: str) -> None:
    """Raise ValueError unless the service file has the service; the driver would ignore the parameter."""
    file = Path(os.environ.get("PGSERVICEFILE") or Path("~/.pg_service.conf").expanduser())
    services = configparser.ConfigParser(interpolation=None)
    try:
        with file.open(encoding="utf-8") as lines:
            services.read_file(lines)
    except FileNotFoundError:
        pass  # the service is missing
    except (configparser.Error, OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else _first_line(error)
        raise ValueError(f"parameter service: {file} cannot be read: {reason}") from None
    if name not in services.sections():
        raise ValueError(f"parameter service: {file} has no section [{name}]; PGSERVICEFILE may name another file")
    if any("%" in value for value in services[name].values()):
        raise ValueError(
            f"parameter service: [{name}] in {file} has a value with a %, which the driver cannot read; write this "
            "value in the URL, or a password in a passfile"
        )
    port = services[name].get("port", "")
    if not all(each.isdecimal() and 0 < int(each) < 2**16 for each in port.split(",") if port):
        raise ValueError(f"parameter service: the port of [{name}] in {file} is not a number from 1 to 65535")


def _first_line(error: Exception) -> str:
    """Return where a file of sections and values is invalid, without the line itself, which may hold a password."""
    line = getattr(error, "lineno", None) or next((number for number, _ in getattr(error, "errors", ())), None)
    return f"line {line} is invalid" if line else "it is not a file of sections and values"
