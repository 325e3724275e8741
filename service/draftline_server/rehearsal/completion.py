"""Complete a migration that was rehearsed: on the database itself, if it is what was rehearsed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from ..ops import migrate, revisions
from .report import Report, now, write_report
from .run import describe
from .schema import compare
from .sessions import RehearsalError, session

NAMED = 5


def complete(
    url: str, report: Report, progress: Callable[[str], None], *, max_age: timedelta, waits_for_services: bool
) -> str:
    """Migrate the database as rehearsed, and return its revision.

    Raise RehearsalError, and change nothing, unless the rehearsal passed and database, migrations and schema are those
    of the report. They are compared again under the lock of migrations.
    """
    verify_now(url, report, max_age)

    async def again() -> None:
        await verify(url, report, max_age)

    return migrate.go_to(url, report.target, progress, waits_for_services=waits_for_services, verify=again)


def record_completion(report: Report, path: Path, reached: str, seconds: float) -> None:
    """Add to the report's file when the migration was completed."""
    report.completed = {"at": now(), "revision": reached, "seconds": round(seconds, 3)}
    write_report(report, path)


def verify_now(url: str, report: Report, max_age: timedelta) -> None:
    """Raise as `complete` does, and change nothing."""
    asyncio.run(verify(url, report, max_age))


async def verify(url: str, report: Report, max_age: timedelta) -> None:
    """Raise RehearsalError unless the rehearsal passed and the database is what was rehearsed."""
    if not report.passed:
        raise RehearsalError(f"the rehearsal failed: {'; '.join(report.problems)}")
    age = datetime.now(UTC) - report.time
    if age > max_age:
        raise RehearsalError(
            f"the rehearsal is from {report.started_at}, {age.days} days ago, and the limit is {max_age.days} days "
            "(--max-age): rehearse again"
        )
    async with session(url) as connection:
        try:
            found = await describe(connection, revisions.existing(report.target))
        except asyncpg.PostgresError as error:
            raise RehearsalError(f"the schema of the database cannot be read: {error}") from error
    differences = _differences(found, report)
    if differences:
        raise RehearsalError(f"this is not what was rehearsed: {'; '.join(differences)}. Rehearse again")
    if found.problems:
        raise RehearsalError("; ".join(found.problems))


def _differences(found: Report, report: Report) -> list[str]:
    """Return how the database and the migrations differ from those of the report."""
    differences = []
    keys = ("database", "oid", "system")
    if any(found.database[key] != report.database[key] for key in keys):
        names = (found.database["database"], report.database["database"])
        differences.append("the database is {}, the rehearsal was of {}".format(*names) if names[0] != names[1] else
                           f"the database {names[0]} is another one of the same name")  # fmt: skip
    if found.revision != report.revision:
        done = " (the migration seems to be completed)" if found.revision == report.target else ""
        differences.append(
            f"the database is at revision {found.revision}, the rehearsal began at {report.revision}{done}"
        )
        return differences
    if found.scripts != report.scripts:
        differences.append("the migration files are not those that were rehearsed")
    changes = compare(found.schema, report.schema)
    if changes:
        more = f" and {len(changes) - NAMED} more differences" if len(changes) > NAMED else ""
        differences.append(f"the schema has changed since: {', '.join(changes[:NAMED])}{more}")
    return differences
