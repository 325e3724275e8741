"""Checks and values that the service reads from the database at startup."""

from __future__ import annotations

from ..domain.errors import DatabaseUnavailableError, DraftlineError, OperatorError, OutOfReachError
from .database import Database
from .driver_errors import UnforeseenError
from .statements import load

SQL = load("database")
UNDEFINED_TABLE = "42P01"


class SchemaError(OperatorError):
    """The database has another schema than this version of the service needs."""


async def check_revision(database: Database, needed: str) -> None:
    """Raise SchemaError unless the database is at the needed revision."""
    revision = await find_revision(database)
    if revision != needed:
        state = f"is at revision {revision}" if revision else "was never migrated"
        raise SchemaError(f"the database {state}, this version needs {needed}: run `draftline migrate`")


async def find_revision(database: Database) -> str | None:
    """Return the revision of the database; None if it was never migrated.

    Raises OutOfReachError if the database is unavailable, and SchemaError for any other DraftlineError.
    """
    try:
        rows = await database.fetch(SQL["revision"], {}, idempotent=True)
    except UnforeseenError as error:
        if error.sqlstate == UNDEFINED_TABLE:
            return None
        raise
    except DatabaseUnavailableError as error:
        raise OutOfReachError(f"the schema cannot be read: {error.message}") from error
    except DraftlineError as error:
        raise SchemaError(f"the schema cannot be read: {error.message}") from error
    return rows[0]["revision"] if rows else None


async def read_secret(database: Database, name: str) -> bytes:
    rows = await database.fetch(SQL["secret"], {"name": name}, idempotent=True)
    return str(rows[0]["value"]).encode()


async def read_usable_connections(database: Database) -> int:
    """Return how many connections the database server allows to all its clients together."""
    return int((await database.fetch(SQL["usable_connections"], {}, idempotent=True))[0]["usable"])
