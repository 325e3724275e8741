"""Connections of a rehearsal, and the statements of rehearsal.sql."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import asyncpg

from ..domain.errors import OperatorError
from ..store.statements import load
from ..store.time_limits import connect_unlimited

SQL = load("rehearsal")
CONNECT_S = 60.0
CLOSE_S = 5.0
LOCK_TIMEOUT = "10s"
# A role may have timeouts of its own. Names without a schema do not resolve, so that definitions name the schema.
SETTINGS = (
    "SET search_path TO ''; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; "
    f"SET row_security = off; SET lock_timeout = '{LOCK_TIMEOUT}'"
)


class RehearsalError(OperatorError):
    """The rehearsal or its completion was refused or aborted. The message says why, and what to do."""


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Any]:
    """Yield a connection to the database at `url`, without timeouts except for locks."""
    connection = await connect_unlimited(url, CONNECT_S, statement_cache_size=0)
    try:
        await connection.execute(SETTINGS)
        yield connection
    finally:
        try:
            await connection.close(timeout=CLOSE_S)
        except (OSError, TimeoutError):
            connection.terminate()


async def fetch(connection: Any, name: str, **values: object) -> list[Any]:
    """Return the rows of a statement of rehearsal.sql."""
    statement = SQL[name]
    rows: list[Any] = await connection.fetch(statement.sql, *statement.arguments(values))
    return rows


async def fetch_row(connection: Any, name: str, **values: object) -> Any:
    """Return the first row of a statement of rehearsal.sql."""
    return (await fetch(connection, name, **values))[0]


def on_database(url: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    parts = urlsplit(url)
    options = [(key, value) for key, value in parse_qsl(parts.query) if key not in ("database", "dbname")]
    return urlunsplit(parts._replace(path=f"/{quote(name)}", query=urlencode(options)))


def quoted(name: str) -> str:
    """Return a name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as a string constant of SQL."""
    return "'" + text.replace("'", "''") + "'"


async def read_revision(source: Any) -> str:
    """Return the revision of the database; `base` if it has none."""
    try:
        rows = await fetch(source, "revision")
    except asyncpg.UndefinedTableError:
        return "base"
    return str(rows[0]["revision"]) if rows else "base"
