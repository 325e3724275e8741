"""The database that a rehearsal works on: a new one beside the original, or an empty one that the caller names.

A new one has a name with the original's object id, so that the next rehearsal finds one that a killed process left.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from ..store.advisory_locks import AdvisoryLock
from ..store.connect_errors import from_option
from ..store.poolers import is_pooled
from .progress import Progress
from .sessions import CONNECT_S, RehearsalError, fetch, fetch_row, literal, on_database, quoted, session

UNFINISHED = "the unfinished copy of a rehearsal by draftline migrate --rehearse"
KEPT = "the kept copy of a rehearsal by draftline migrate --rehearse"
INTO = "--into"


@dataclass(slots=True)
class Scratch:
    """The database of a rehearsal. `is_kept`: it remains when the rehearsal ends."""

    url: str
    name: str
    is_kept: bool = False


@asynccontextmanager
async def rehearsal_lock(connection: Any) -> AsyncIterator[None]:
    """Hold the lock of rehearsals of a database until the connection is closed."""
    if not (await fetch_row(connection, "lock", rehearsal_lock=AdvisoryLock.REHEARSAL))["taken"]:
        raise RehearsalError("another rehearsal of this database is running: wait until it has ended")
    yield


@asynccontextmanager
async def scratch_beside(source: Any, url: str, progress: Progress) -> AsyncIterator[Scratch]:
    """Create a database on the server of `source`, and drop it at the end, unless it is kept."""
    await drop_copies(source, progress, kept=False)
    identity = await fetch_row(source, "identity")
    name = f"draftline_rehearsal_{identity['oid']}_{secrets.token_hex(4)}"
    scratch = Scratch(on_database(url, name), name)
    try:
        await _create(source, name)
        await source.execute(f"COMMENT ON DATABASE {quoted(name)} IS {literal(UNFINISHED)}")
        progress.notice(f"created the database {name} for the rehearsal")
        yield scratch
        if scratch.is_kept:
            await source.execute(f"COMMENT ON DATABASE {quoted(name)} IS {literal(KEPT)}")
    except BaseException:
        scratch.is_kept = False
        raise
    finally:
        if not scratch.is_kept:
            async with session(url) as connection:  # `source` may be in use by what was interrupted
                await _drop(connection, name)


async def _create(source: Any, name: str) -> None:
    """Create a database. If cancelled, wait until it exists, so that it can be dropped."""
    creating = asyncio.ensure_future(
        source.execute(f"CREATE DATABASE {quoted(name)} TEMPLATE template0 ENCODING 'UTF8'")
    )
    try:
        await asyncio.shield(creating)
    except asyncio.CancelledError:
        with suppress(asyncpg.PostgresError):
            await creating
        raise
    except asyncpg.InsufficientPrivilegeError as error:
        raise RehearsalError(
            "the role of DRAFTLINE_DATABASE_URL may not create databases: ALTER ROLE ... CREATEDB, or pass --into with "
            "the URL of an empty database"
        ) from error


async def drop_copies(connection: Any, progress: Progress, *, kept: bool = True) -> list[str]:
    """Drop the databases that earlier rehearsals of this database left, with `kept` also those that were kept."""
    oid = (await fetch_row(connection, "identity"))["oid"]
    dropped = []
    for row in await fetch(connection, "copies", pattern=f"^draftline_rehearsal_{oid}_[0-9a-f]{{8}}$"):
        if kept or row["comment"] != KEPT:
            progress.notice(f"dropping the database {row['name']}, which an earlier rehearsal left")
            await _drop(connection, row["name"])
            dropped.append(row["name"])
        else:
            progress.notice(f"the database {row['name']} was kept by an earlier rehearsal; --drop-copies drops it")
    return dropped


async def _drop(connection: Any, name: str) -> None:
    await connection.execute(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")


@asynccontextmanager
async def scratch_in(url: str, progress: Progress) -> AsyncIterator[Scratch]:
    """Use the empty database at `url`, and empty it at the end, unless it is kept."""
    with from_option(INTO):
        await is_pooled(url, CONNECT_S)
    async with session(url) as connection:
        identity = await fetch_row(connection, "identity")
        name, encoding = identity["database"], identity["encoding"]
        if encoding != "UTF8":
            raise RehearsalError(f"the database {name} has the encoding {encoding}: create one with ENCODING 'UTF8'")
        await _check_empty(connection, name)
        async with rehearsal_lock(connection):
            if (await fetch_row(connection, "schema_comment"))["is_there"]:
                progress.notice(f"emptying the database {name}, where an earlier rehearsal was interrupted")
                await _empty(connection)
            async with _marked(connection, Scratch(url, name)) as scratch:
                yield scratch


@asynccontextmanager
async def _marked(connection: Any, scratch: Scratch) -> AsyncIterator[Scratch]:
    """Create the schema of a copy with a comment, and drop it at the end, unless it is kept."""
    await connection.execute(f"CREATE SCHEMA draftline; COMMENT ON SCHEMA draftline IS {literal(UNFINISHED)}")
    try:
        yield scratch
        if scratch.is_kept:
            await connection.execute(f"COMMENT ON SCHEMA draftline IS {literal(KEPT)}")
    except BaseException:
        scratch.is_kept = False
        raise
    finally:
        if not scratch.is_kept:
            await _empty(connection)


async def _check_empty(connection: Any, name: str) -> None:
    """Raise RehearsalError unless there is no schema of the service, except one that a killed rehearsal left."""
    found = await fetch_row(connection, "schema_comment")
    if found["is_there"] and found["comment"] != UNFINISHED:
        fix = "--drop-copies drops it" if found["comment"] == KEPT else "pass the URL of an empty database"
        kept = " of an earlier rehearsal" if found["comment"] == KEPT else ""
        raise RehearsalError(f"the database {name} of --into is not empty: it has a schema draftline{kept}; {fix}")


async def _empty(connection: Any) -> None:
    """Drop the schema, after the other sessions of this role in the database have ended."""
    await fetch(connection, "end_sessions")
    await connection.execute("DROP SCHEMA IF EXISTS draftline CASCADE")


async def empty_kept(url: str, progress: Progress) -> list[str]:
    """Empty the database at `url` if it has the copy of a rehearsal. Return its name, or nothing."""
    with from_option(INTO):
        async with session(url) as connection, rehearsal_lock(connection):
            found = await fetch_row(connection, "schema_comment")
            if found["comment"] not in (KEPT, UNFINISHED):
                return []
            name = str((await fetch_row(connection, "identity"))["database"])
            progress.notice(f"emptying the database {name}, which an earlier rehearsal left")
            await _empty(connection)
            return [name]


@asynccontextmanager
async def empty_again(scratch: Scratch) -> AsyncIterator[Any]:
    """Yield a connection to the database, and remove at the end what was migrated in the block, but not the comment."""
    async with session(scratch.url) as connection:
        comment = (await fetch_row(connection, "schema_comment"))["comment"]
        yield connection
        async with connection.transaction():
            await connection.execute("DROP SCHEMA IF EXISTS draftline CASCADE; CREATE SCHEMA draftline")
            await connection.execute(f"COMMENT ON SCHEMA draftline IS {literal(comment)}")
