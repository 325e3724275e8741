"""Examine the settings, files, ports and database of a service.

The examination changes, creates and starts nothing. A check that would need to is reported as skipped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime

from ..settings import Settings, renamed_settings, unknown_settings
from . import database as doctor_database
from . import files as doctor_files
from . import ports as doctor_ports
from . import syncs as doctor_syncs
from .results import Finding, fault, ok, warning


def now() -> datetime:
    """Return the current time of this machine, in UTC."""
    return datetime.now(UTC)


async def examine(
    settings: Settings, health: Callable[[str], str], *, with_drafts: bool = True
) -> AsyncIterator[Finding]:
    """Yield the findings of all checks.

    `health` returns the health state of the service at an address. `with_drafts` also checks every draft.
    """
    for each in _settings():
        yield each
    yield _protection(settings)
    async for each in doctor_files.authentication(settings):
        yield each
    for each in doctor_files.tls(settings, now()):
        yield each
    yield await doctor_syncs.upstreams_file(settings)
    for each in doctor_files.data_folder(settings):
        yield each
    for each in doctor_ports.ports(settings, health):
        yield each
    async for found in doctor_database.database(settings, now, with_drafts=with_drafts):
        yield found


def _settings() -> Iterator[Finding]:
    unknown, renamed = unknown_settings(), renamed_settings()
    if not unknown and not renamed:
        yield ok("settings", "valid")
    for name, similar in unknown.items():
        meant = f" Did you mean {similar}?" if similar else ""
        yield warning("settings", f"Unknown setting {name}.{meant}", "correct the name, or unset the variable")
    for former, name in renamed.items():
        yield warning("settings", f"{former} is the former name of {name}", f"set {name}; 0.2 will ignore {former}")


def _protection(settings: Settings) -> Finding:
    host = settings.server.host
    if settings.server.is_loopback:
        return ok("protection", f"{host} can be reached only from this machine")
    if settings.is_protected:
        return ok("protection", f"{host}, with authentication and TLS")
    if settings.server.dangerously_serve_unprotected:
        message = f"{host} has no authentication or no TLS: anyone who can connect can read and write everything"
        return warning("protection", message, "restrict network access, or configure both (docs/security.md)")
    message = f"`draftline serve` refuses DRAFTLINE_HOST={host} without authentication and TLS"
    return fault("protection", message, "configure both (docs/security.md), or set DRAFTLINE_HOST to 127.0.0.1")
