"""Check the URL of a PostgreSQL: one parser for every command, with the parameters of libpq.

No message contains a part of the URL that may belong to a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from urllib.parse import quote, unquote

from .database_files import check_files, with_system_authorities

FORM = "the form is postgresql://user:password@host:5432/database?sslmode=verify-full"
SCHEMES = ("postgresql://", "postgres://")
ENCODED = "in a user name or password, write %23 for #, %25 for %, %2F for /, %3A for :, %3F for ? and %40 for @"

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "ssl_min_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "ssl_max_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
}
_PASSED_ON = {
    *_CHOICES, "host", "port", "user", "password", "dbname", "sslrootcert", "sslcert", "sslkey", "sslcrl",
    "sslpassword", "passfile", "options", "application_name", "service", "krbsrvname", "gsslib",
}  # fmt: skip
# Parameters of libpq that this service sets itself, or that make no difference to it.
_IGNORED = {
    "client_encoding", "connect_timeout", "fallback_application_name", "gssdelegation", "keepalives",
    "keepalives_count", "keepalives_idle", "keepalives_interval", "max_protocol_version", "min_protocol_version",
    "sslcertmode", "sslcompression", "sslsni", "tcp_user_timeout",
}  # fmt: skip
# Parameters of libpq that demand what the driver cannot do, with the values that demand nothing.
_HARMLESS: Mapping[str, tuple[str, ...]] = {
    "channel_binding": ("disable", "prefer", ""),
    "gssencmode": ("disable", "prefer", ""),
    "hostaddr": ("",),
    "load_balance_hosts": ("disable", ""),
    "replication": ("false", "off", "no", "0", ""),
    "require_auth": ("",),
    "requirepeer": ("",),
}
_KNOWN = sorted(_PASSED_ON | _IGNORED | _HARMLESS.keys())


def checked(url: str) -> str:
    """Return the URL as the driver understands it, without parameters that make no difference.

    Raise ValueError with a sentence if a part of it is invalid or cannot be followed.
    """
    scheme = next((each for each in SCHEMES if url.startswith(each)), None)
    if scheme is None:
        raise ValueError(_no_scheme(url))
    base, mark, query = url.removeprefix(scheme).partition("?")
    _check_base(base, query)
    given = _parameters(query)
    _check_ports(base.partition("/")[0].rpartition("@")[2] or given.get("host", ""), given.get("port", ""))
    kept = {name: value for name, value in with_system_authorities(given).items() if _is_followed(name, value)}
    check_files(kept)
    text = "&".join(f"{name}={quote(value, safe='/,:=')}" for name, value in kept.items())
    # The driver takes an empty name for a database of that name, and not for the default.
    return scheme + base.removesuffix("/") + (mark and text and f"?{text}")


def _no_scheme(url: str) -> str:
    """Return a sentence about a URL that does not start as one of PostgreSQL. It does not contain the URL."""
    wanted = "must start with postgresql:// or postgres://, or be empty for the embedded PostgreSQL"
    if url != url.strip(" '\"\t\r\n"):
        return f"{wanted}: remove the quotes and spaces around it"
    if url.startswith(("postgresql+", "postgres+")):
        return f"{wanted}: remove the driver after +"
    if "=" in url.partition(" ")[0]:
        return f"{wanted}: write dbname=films host=db as postgresql://db/films"
    return wanted


def described(url: str) -> str:
    """Return the user, hosts, ports and database of a checked URL, without the password."""
    base, _, query = url.partition("://")[2].partition("?")
    authority, _, name = base.partition("/")
    account, _, hosts = authority.rpartition("@")
    given = _parameters(query)
    user = unquote(account.partition(":")[0]) or given.get("user", "")
    port = given.get("port", "") or "5432"
    listed = (hosts or given.get("host", "")).split(",")
    hosts = ",".join(each if re.search(r"[^:]:\d+$", each) else f"{each}:{port}" for each in listed)
    return f"{user}{user and '@'}{hosts}/{unquote(name) or given.get('dbname', '') or user}"


def _check_base(base: str, query: str) -> None:
    authority, _, name = base.partition("/")
    # An @ that belongs to the address lies before the first / and the first ?.
    if "#" in base or base.count("@") > ("@" in authority) or ("@" in query.partition("=")[0]):
        raise ValueError(f"has a character in the user name or password that must be percent-encoded: {ENCODED}")
    if re.search(r"%(?![0-9A-Fa-f]{2})", base):
        raise ValueError(f"has a % that does not begin an encoded character: {ENCODED}")
    if re.search(r"[\s\x00-\x1f]|%00", f"{base}?{query}") or "/" in name:
        raise ValueError(f"is not a valid URL: {FORM}; {ENCODED}")


def _check_ports(hosts: str, given: str) -> None:
    ports = [each.rpartition("]")[2].partition(":")[2] for each in hosts.split(",")] + given.split(",")
    for port in filter(None, ports):
        if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 2**16:
            address = "an IPv6 address is written in brackets: [::1]"
            raise ValueError(f"has a port that is not a number from 1 to 65535: {FORM}; {ENCODED}; {address}")
    listed = given.split(",")
    if len(listed) > 1 and len(listed) != len(hosts.split(",")):
        raise ValueError("parameter port: give one port, or as many as there are hosts")


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters, decoded as libpq does it: a + is not a space."""
    given: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, separator, value = part.partition("=")
        name = {"database": "dbname"}.get(unquote(name), unquote(name))
        if not separator:
            raise ValueError(f"has a parameter without a value after the ?: {FORM}; {ENCODED}")
        given[name] = unquote(value)
    if "ssl" in given:
        if given.pop("ssl") != "true":  # libpq reads this value of JDBC's parameter, and rejects any other
            raise ValueError("parameter ssl: only ssl=true is known; write sslmode=disable, require or verify-full")
        given.setdefault("sslmode", "require")
    return given


def _is_followed(name: str, value: str) -> bool:
    """Return whether the driver gets the parameter. Raise ValueError if it is unknown, invalid or cannot be met."""
    if name in _IGNORED:
        return False
    if name in _HARMLESS:
        if value not in _HARMLESS[name]:
            raise ValueError(f"parameter {name}={value} is not supported: remove it")
        return False
    if name not in _PASSED_ON:
        similar = get_close_matches(name, _KNOWN, 1, 0.8)
        hint = (
            f"did you mean {similar[0]}?" if similar else "a setting of PostgreSQL is given as options=-c%20name=value"
        )
        raise ValueError(f"parameter {name!r} is not one of libpq's: {hint}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ValueError(f"parameter {name} is {value!r}, and must be one of {', '.join(_CHOICES[name])}")
    return bool(value)
