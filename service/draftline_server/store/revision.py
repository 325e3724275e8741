"""Checks and values that the service reads from the database at startup."""

from __future__ import annotations

from ..domain.errors import DatabaseUnavailableError, DraftlineError, OperatorError, OutOfReachError
from .database import Database
from .driver_errors import UnforeseenError
from .schema_parts import find_in, missing_parts, some
from .schema_problems import SchemaError, can_use, schema_problem, unknown_revision, wrong_server
from .statements import load
from .tables import metadata

__all__ = [
    "CONNECTIONS_FIX",
    "SchemaError",
    "check_privileges",
    "check_revision",
    "find_revision",
    "privileges_problem",
    "read_secret",
    "read_usable_connections",
]

SQL = load("database")
UNDEFINED_TABLE = "42P01"
INSUFFICIENT_PRIVILEGE = "42501"
CONNECTIONS_FIX = (
    "lower DRAFTLINE_POOL_SIZE or DRAFTLINE_WORKERS, or raise max_connections or the CONNECTION LIMIT of the role or "
    "database"
)
PRIVILEGES_FIX = "serve and check as the role that migrated, or as a member of it"
FIXES = {"create": "GRANT TEMPORARY ON DATABASE to the role"}  # the owner of the tables may lack this one as well


async def check_revision(database: Database, needed: str) -> None:
    """Raise SchemaError unless the database is at the needed revision, or a newer one that supports it, in full."""
    await check_server(database)
    revision, comment = await _find(database)
    if not can_use(revision, comment, needed):
        raise SchemaError(schema_problem(revision, needed))
    missing = await missing_parts(find_in(database))
    if missing:
        raise SchemaError(f"the schema lacks parts of its revision ({missing}): {missing.fix}")


async def check_server(database: Database) -> None:
    """Raise SchemaError unless the version and the encoding of the database are supported."""
    try:
        facts = (await database.fetch(SQL["server_facts"], {}, idempotent=True))[0]
    except DraftlineError as error:
        raise _unreadable("the database", error) from error
    problem = wrong_server(facts["version"], facts["version_text"], facts["encoding"])
    if problem:
        raise SchemaError(problem)


async def check_privileges(database: Database) -> None:
    """Raise SchemaError unless the role may use all tables and functions, and create temporary tables."""
    if found := await privileges_problem(database):
        problem, fix = found
        raise SchemaError(f"{problem}: {fix}")


async def privileges_problem(database: Database) -> tuple[str, str] | None:
    """Return a sentence about what the role may not do, and its fix; None if it may do all that a service does."""
    rows = await database.fetch(SQL["missing_privileges"], {}, idempotent=True)
    if not rows:
        return None
    action = rows[0]["action"]
    names = some([row["name"] for row in rows if row["action"] == action])
    return f"the role of DRAFTLINE_DATABASE_URL may not {action} {names}", FIXES.get(action, PRIVILEGES_FIX)


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
            return await _unversioned(database)
        if error.sqlstate == INSUFFICIENT_PRIVILEGE:
            message = "the role of DRAFTLINE_DATABASE_URL may not read the schema draftline"
            raise SchemaError(f"{message}: {PRIVILEGES_FIX}") from error
        raise
    except DraftlineError as error:
        raise _unreadable("the schema", error) from error
    if len(rows) > 1:
        raise SchemaError(unknown_revision([row["revision"] for row in rows], rows[0]["comment"]))
    return (rows[0]["revision"], rows[0]["comment"]) if rows else await _unversioned(database)


async def _unversioned(database: Database) -> tuple[None, None]:
    """Return no revision if there are no tables either. Raise SchemaError if only the revision is missing."""
    names: dict[str, object] = {"names": [table.name for table in metadata.tables.values()]}
    remains = (await database.fetch(SQL["remains"], names, idempotent=True))[0]
    if remains["tables"]:
        raise SchemaError(unknown_revision([], remains["comment"]))
    return None, None


def _unreadable(what: str, error: DraftlineError) -> OperatorError:
    if isinstance(error, DatabaseUnavailableError):
        return OutOfReachError(f"{what} cannot be read: {error.message}")
    return SchemaError(f"{what} cannot be read: {error.message}")


async def read_secret(database: Database, name: str) -> bytes:
    rows = await database.fetch(SQL["secret"], {"name": name}, idempotent=True)
    return str(rows[0]["value"]).encode()


async def read_usable_connections(database: Database) -> int:
    """Return how many connections the server, the role and the database allow to all clients together."""
    return int((await database.fetch(SQL["usable_connections"], {}, idempotent=True))[0]["usable"])
