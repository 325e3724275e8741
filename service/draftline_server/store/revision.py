"""Checks and values that the service reads from the database at startup."""

from __future__ import annotations

from ..domain.errors import DatabaseUnavailableError, DraftlineError, OutOfReachError
from .database import Database
from .driver_errors import UnforeseenError
from .schema_problems import SchemaError, can_use, schema_problem
from .statements import load
from .tables import metadata

__all__ = [
    "SchemaError",
    "check_privileges",
    "check_revision",
    "find_revision",
    "missing_tables",
    "privileges_problem",
    "read_secret",
    "read_usable_connections",
]

SQL = load("database")
UNDEFINED_TABLE = "42P01"
INSUFFICIENT_PRIVILEGE = "42501"
PRIVILEGES_FIX = "serve and check as the role that migrated, or as a member of it"
MISSING_FIX = "an incomplete restore may be the cause; restore a complete dump into an empty database"
NAMED = 5  # tables or functions that a message names at most


async def check_revision(database: Database, needed: str) -> None:
    """Raise SchemaError unless the database is at the needed revision, or a newer one that supports it, in full."""
    revision, comment = await _find(database)
    if not can_use(revision, comment, needed):
        raise SchemaError(schema_problem(revision, needed))
    missing = await missing_tables(database)
    if missing:
        raise SchemaError(f"the schema lacks tables of its revision ({missing}): {MISSING_FIX}")


async def check_privileges(database: Database) -> None:
    """Raise SchemaError unless the role may read and write all tables, and execute all functions."""
    problem = await privileges_problem(database)
    if problem:
        raise SchemaError(f"{problem}: {PRIVILEGES_FIX}")


async def privileges_problem(database: Database) -> str:
    """Return a sentence about the tables and functions that the role may not use; empty if it may use all."""
    missing = [row["name"] for row in await database.fetch(SQL["missing_privileges"], {}, idempotent=True)]
    if not missing:
        return ""
    verb = "execute" if missing[0].endswith("()") else "read and write"
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return f"the role of DRAFTLINE_DATABASE_URL may not {verb} {', '.join(missing[:NAMED])}{more}"


async def missing_tables(database: Database) -> str:
    """Return the names of the service's tables that do not exist; empty if all do."""
    names: dict[str, object] = {"names": [table.name for table in metadata.tables.values()]}
    return ", ".join(row["name"] for row in await database.fetch(SQL["missing_tables"], names, idempotent=True))


async def find_revision(database: Database) -> str | None:
    """Return the revision of the database; None if it was never migrated.

    Raises OutOfReachError if the database is unavailable, and SchemaError for any other DraftlineError.
    """
    return (await _find(database))[0]


async def _find(database: Database) -> tuple[str | None, str | None]:
    """Return the revision of the database and its comment. Raise as `find_revision`."""
    try:
        rows = await database.fetch(SQL["revision"], {}, idempotent=True)
    except UnforeseenError as error:
        if error.sqlstate == UNDEFINED_TABLE:
            return None, None
        if error.sqlstate == INSUFFICIENT_PRIVILEGE:
            message = "the role of DRAFTLINE_DATABASE_URL may not read the schema draftline"
            raise SchemaError(f"{message}: {PRIVILEGES_FIX}") from error
        raise
    except DatabaseUnavailableError as error:
        raise OutOfReachError(f"the schema cannot be read: {error.message}") from error
    except DraftlineError as error:
        raise SchemaError(f"the schema cannot be read: {error.message}") from error
    return (rows[0]["revision"], rows[0]["comment"]) if rows else (None, None)


async def read_secret(database: Database, name: str) -> bytes:
    rows = await database.fetch(SQL["secret"], {"name": name}, idempotent=True)
    return str(rows[0]["value"]).encode()


async def read_usable_connections(database: Database) -> int:
    """Return how many connections the database server allows to all its clients together."""
    return int((await database.fetch(SQL["usable_connections"], {}, idempotent=True))[0]["usable"])
