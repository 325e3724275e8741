"""Errors of a connection attempt, in the same words for every command. They are distinguished by type and SQLSTATE."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import asyncpg

from ..domain.errors import OperatorError, OutOfReachError


class Problem(NamedTuple):
    """A reason why a connection cannot be made, and what to do."""

    message: str
    fix: str


CREDENTIALS_FIX = "correct the user and password in DRAFTLINE_DATABASE_URL, or the rules in pg_hba.conf"
_PASSWORD_FIX = (
    f"{CREDENTIALS_FIX}; without a password in the URL, that of passfile, ~/.pgpass or PGPASSWORD is used; a role's "
    "password may have expired (VALID UNTIL)"
)
_OPTIONS_FIX = "correct `options` in DRAFTLINE_DATABASE_URL: options=-c%20name=value"
_REFUSALS: Mapping[str, Problem] = {
    "08P01": Problem(
        "rejects a parameter of the connection, as poolers do",
        "remove `options` from DRAFTLINE_DATABASE_URL, or name it in the pooler's ignore_startup_parameters",
    ),
    "22023": Problem("rejects a value of a setting in `options`", _OPTIONS_FIX),
    "42601": Problem("cannot read `options`", _OPTIONS_FIX),
    "55P02": Problem("does not let a connection change a setting in `options`", _OPTIONS_FIX),
    "28P01": Problem("rejects the password", _PASSWORD_FIX),
    "28000": Problem(
        "rejects this user from this host",
        f"{CREDENTIALS_FIX}; if these demand TLS, add sslmode=require or stricter to the URL; the role needs LOGIN",
    ),
    "3D000": Problem(
        "does not exist on its server", "create the database with ENCODING 'UTF8', or correct its name"
    ),
    "42501": Problem("does not allow this user to connect", "GRANT CONNECT ON DATABASE to the user"),
    "42704": Problem("does not know a setting in `options`", _OPTIONS_FIX),
    "53300": Problem(
        "has no free connection",
        "raise max_connections or the CONNECTION LIMIT of the role or database, or lower DRAFTLINE_POOL_SIZE or "
        "DRAFTLINE_WORKERS",
    ),
    "55000": Problem(
        "takes no connections", "ALTER DATABASE with ALLOW_CONNECTIONS true, or correct its name in "
        "DRAFTLINE_DATABASE_URL",
    ),
    "57P03": Problem(
        "is starting, stopping or recovering", "wait; if it does not end, see PostgreSQL's log"
    ),
}  # fmt: skip
# Parameters of a URL that say where it leads, and hold no secret.
_SHOWN = {
    "database", "dbname", "host", "passfile", "port", "service", "sslmode", "sslrootcert", "target_session_attrs",
    "user",
}  # fmt: skip
_CERTIFICATE_FIXES: Mapping[int, str] = {
    10: "renew the certificate of PostgreSQL, which has expired, or correct the clock of this machine",
    62: "connect to a host that the certificate is valid for, or issue one that is valid for this host",
    64: "connect to a host that the certificate is valid for, or issue one that is valid for this address",
}  # by the verification error of OpenSSL
_AUTHORITY_FIX = "name the certificate authority that issued PostgreSQL's certificate by sslrootcert"
_ADDRESS_FIX = "start PostgreSQL, correct the host and port in DRAFTLINE_DATABASE_URL, or check the network"


def problem_of(error: BaseException) -> Problem | None:
    """Return the problem behind an error of asyncpg.connect, or None for an error of another kind."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        known = _REFUSALS.get(state, Problem("rejects the connection", "see PostgreSQL's log"))
        return known._replace(message=f"{known.message} (SQLSTATE {state})")
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        fix = "wait for a failover to end, or correct the hosts or target_session_attrs in DRAFTLINE_DATABASE_URL"
        return Problem("has no host with the wanted target_session_attrs", fix)
    if isinstance(error, ssl.SSLCertVerificationError):
        fix = _CERTIFICATE_FIXES.get(error.verify_code, _AUTHORITY_FIX)
        return Problem(f"has a certificate that is not trusted: {error.verify_message.lower()}", fix)
    if isinstance(error, ssl.SSLError):
        return Problem(
            f"refuses the TLS connection: {error.reason or 'handshake failed'}",
            "correct sslcert, sslkey and sslrootcert in DRAFTLINE_DATABASE_URL, or the TLS settings of PostgreSQL",
        )
    if type(error) is ConnectionError:  # asyncpg's: the server answered that it has no TLS
        return Problem("does not offer TLS", "set ssl = on in PostgreSQL, or correct sslmode in DRAFTLINE_DATABASE_URL")
    if isinstance(error, OSError):
        return Problem(f"cannot be reached: {_reason(error)}", _ADDRESS_FIX)
    if isinstance(error, asyncpg.InterfaceError | ValueError):
        detail = str(error).partition("\n")[0]  # without the driver's hint
        return Problem(
            "cannot be connected to as DRAFTLINE_DATABASE_URL says",
            f"correct it: {detail}" if isinstance(error, asyncpg.ClientConfigurationError) else "correct it",
        )
    return None


def _reason(error: OSError) -> str:
    """Return the system's words for an error; asyncio's own name only the address."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    system, own = os.strerror(error.errno), error.strerror or ""
    return system if own in ("", system) else f"{system} {own.removeprefix('Connect call failed ')}"


async def connect(url: str, timeout_s: float, **options: Any) -> Any:
    """Return a connection, as asyncpg.connect does. Raise OutOfReachError if the attempt fails."""
    try:
        return await asyncpg.connect(url, timeout=timeout_s, **options)
    except Exception as error:
        problem = problem_of(error)
        if problem is None:
            raise
        raise OutOfReachError(f"the database {problem.message}", problem.fix, without_secrets(url)) from error


@contextmanager
def from_option(name: str) -> Iterator[None]:
    """Have the errors of the block name the option that gave the URL, instead of the setting."""
    setting = "DRAFTLINE_DATABASE_URL"
    try:
        yield
    except OutOfReachError as error:
        message, fix = (text.replace(setting, name) for text in (str(error), error.fix))
        raise OutOfReachError(message, fix, error.url) from error
    except OperatorError as error:
        error.args = (str(error).replace(setting, name),)
        raise


def without_secrets(url: str) -> str:
    """Return a checked URL with only the parameters that say where it leads."""
    scheme, _, rest = url.partition("://")
    base, _, query = rest.partition("?")
    account, at, address = base.rpartition("@")
    shown = "&".join(each for each in query.split("&") if each.partition("=")[0] in _SHOWN)
    return f"{scheme}://{account.partition(':')[0]}{at}{address}" + (shown and f"?{shown}")
