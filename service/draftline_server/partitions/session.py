"""The connection of a command that changes partitions: it runs or collects statements, logs, and locks briefly."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from ..store.advisory_locks import AdvisoryLock
from ..store.poolers import is_pooled
from ..store.schema_problems import NOT_MIGRATED, SchemaError, schema_problem
from ..store.statements import load
from ..store.time_limits import connect_unlimited
from .definitions import LayoutError
from .layout import qualified
from .switch_state import fetch

REVISION = load("database")["revision"].sql
CONNECT_S = 60.0
LOCK_MS = 100  # other statements wait behind one that waits for a lock, so it gives up soon
LOCKED_S = 5.0
TOOL_LOCK_S = 10.0
MOST_WAIT_S = 3.0
NOTHING = "nothing was changed"
NO_LOCK = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, asyncpg.DeadlockDetectedError)


class LockError(LayoutError):
    """A lock was not free in time. Nothing was changed."""


@dataclass(slots=True)
class Session:
    """A connection that holds the lock of the tool. With `dry_run` it only reads, and collects statements in `sql`."""

    connection: Any
    url: str
    report: Callable[[str], None] = lambda _: None
    log_file: Path | None = None
    dry_run: bool = False
    attempts: int = 200
    sql: list[str] = field(default_factory=list)
    longest_lock_ms: float = 0.0

    async def run(self, statements: Iterable[str]) -> None:
        """Run statements in one transaction, as one message."""
        script = list(statements)
        if self.dry_run:
            self.sql += script
        else:
            async with self.connection.transaction():
                await self.connection.execute(";\n".join(script))

    async def log(self, event: str, **detail: object) -> None:
        """Store a step in the table of the log and in the log file."""
        if self.dry_run:
            return
        text = json.dumps(detail, default=str)
        await fetch(self.connection, "append_log", event=event, detail=text)
        figures = ", ".join(f"{name} {value}" for name, value in detail.items() if not isinstance(value, dict))
        self.report(f"{event}: {figures}" if figures else event)
        if self.log_file is not None:
            entry = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **detail}
            with self.log_file.open("a") as file:
                file.write(json.dumps(entry, default=str) + "\n")

    async def run_locked(
        self,
        tables: Sequence[str],
        mode: str,
        statements: Sequence[str],
        event: str,
        longest_s: float = LOCKED_S,
        *,
        unchanged: str = NOTHING,
        **detail: object,
    ) -> float:
        """Run statements under a lock on tables, which is given up and tried again unless it is free at once.

        Return for how many milliseconds it was held. Raise LockError, which names the sessions that hold it, after the
        last attempt, or if the statements take longer than `longest_s`. `unchanged` says what the error leaves behind.
        """
        # ONLY: a statement locks the table that it names before its partitions.
        lock = f"LOCK TABLE {', '.join(f'ONLY {qualified(table)}' for table in tables)} IN {mode} MODE"
        if self.dry_run:
            self.sql += [f"SET LOCAL lock_timeout = {LOCK_MS}", lock, *statements]
            return 0.0
        holder = "an unknown session"
        for attempt in range(1, self.attempts + 1):
            try:
                held_ms = await self._locked(lock, statements, event, longest_s, unchanged)
            except NO_LOCK:
                holder = await self._holder(tables, mode)
                self.report(f"{event}: no lock within {LOCK_MS} ms, attempt {attempt}; {holder}")
                await asyncio.sleep(random.uniform(0.02, min(0.05 * 2 ** min(attempt, 6), MOST_WAIT_S)))  # noqa: S311
            else:
                self.longest_lock_ms = max(self.longest_lock_ms, held_ms)
                await self.log(event, attempts=attempt, locked_ms=round(held_ms, 1), **detail)
                return held_ms
        message = (
            f"{event} needs a lock on {', '.join(tables)}, which was not free in {self.attempts} attempts: {holder}"
        )
        raise LockError(message, f"{unchanged}; end that session, and run the command again")

    async def _locked(
        self, lock: str, statements: Sequence[str], event: str, longest_s: float, unchanged: str
    ) -> float:
        """Run a transaction and return for how many milliseconds it held the lock."""
        async with self.connection.transaction():
            limits = f"SET LOCAL lock_timeout = {LOCK_MS}; SET LOCAL statement_timeout = {2 * LOCK_MS}"
            await self.connection.execute(f"{limits}; {lock}")
            start = time.perf_counter()
            limit = f"SET LOCAL statement_timeout = {max(1, round(longest_s * 1000))}"
            try:
                async with asyncio.timeout(longest_s):
                    await self.connection.execute("; ".join([limit, *statements]))
            except (asyncpg.QueryCanceledError, TimeoutError) as error:
                raise LockError(
                    f"{event} would lock the tables for longer than {longest_s:g} s",
                    f"{unchanged}; run the command at a quiet time",
                ) from error
        return (time.perf_counter() - start) * 1000

    async def _holder(self, tables: Sequence[str], mode: str) -> str:
        """Return a sentence about the sessions that hold locks on tables, after asking autovacuum to leave.

        Autovacuum leaves by itself only if another session waits for longer than deadlock_timeout.
        """
        rows = await fetch(self.connection, "holders", names=list(tables), writes=mode != "ACCESS EXCLUSIVE")
        for row in rows:
            if row["backend_type"] == "autovacuum worker":
                try:
                    await fetch(self.connection, "cancel", pid=row["pid"])
                except asyncpg.InsufficientPrivilegeError:
                    self.report(
                        "autovacuum holds the lock; GRANT pg_signal_autovacuum_worker would let this ask it to go"
                    )
        return "; ".join(map(_session_text, rows)) or "the lock is free by now"

    async def no_old_snapshots(self, copied_xact: int) -> None:
        """Wait until no session reads a snapshot in which the copy is incomplete. Raise LockError if one stays."""
        for attempt in range(1, self.attempts + 1):
            rows = await fetch(self.connection, "old_snapshots", copied_xact=copied_xact)
            if not rows:
                return
            texts = "; ".join(_session_text(row) for row in rows)
            self.report(f"waiting for transactions that began before the copy was complete, attempt {attempt}: {texts}")
            if attempt == self.attempts:
                raise LockError(
                    f"a transaction began before the copy was complete and would not see all rows: {texts}",
                    "nothing was changed; end that session, and run the command again",
                )
            await asyncio.sleep(0.5)


def _session_text(row: Any) -> str:
    if row["pid"] is None:
        return "a prepared transaction holds it (see pg_prepared_xacts)"
    name = row["application"] or row.get("backend_type", "") or "no application_name"
    query = f", last statement: {row['query']}" if row.get("query") else ""
    return f"pid {row['pid']} ({name}, {row['state'] or 'background'}), open for {row['open_s']:.1f} s{query}"


@asynccontextmanager
async def open_session(
    url: str, *, locks: bool = True, newest: str | None = None, **options: Any
) -> AsyncIterator[Session]:
    """Yield a session on the database. Raise LockError if another command or a migration runs, unless not `locks`.

    Raises SchemaError if the schema is newer than the revision `newest`: its tables may be others than those that are
    known here, and would be left out.
    """
    await is_pooled(url, CONNECT_S)  # raises PoolerError if a pooler provides no sessions
    connection = await connect_unlimited(url, CONNECT_S)
    try:
        await fetch(connection, "set_session")
        session = Session(connection, url, **options)
        if locks:
            await _lock_tool(connection)
        if newest is not None:
            await _check_revision(connection, newest)
        yield session
    finally:
        await connection.close(timeout=CONNECT_S)


async def _check_revision(connection: Any, newest: str) -> None:
    try:
        rows = await connection.fetch(REVISION)
    except asyncpg.UndefinedTableError:
        raise SchemaError(NOT_MIGRATED) from None
    for row in rows:
        if row["revision"] > newest:
            raise SchemaError(schema_problem(row["revision"], newest))


async def _lock_tool(connection: Any) -> None:
    keys = {"tool_lock": AdvisoryLock.PARTITIONS, "migration_lock": AdvisoryLock.MIGRATION}
    end = time.monotonic() + TOOL_LOCK_S
    while True:
        (row,) = await fetch(connection, "lock_tool", **keys)
        if row["tool"] and row["migration"]:
            return
        await connection.execute("SELECT pg_advisory_unlock_all()")
        if time.monotonic() > end:
            what = "a migration runs" if row["tool"] else "another `draftline partitions` command works"
            raise LockError(f"{what} on this database", "nothing was changed; run the command again when it has ended")
        await asyncio.sleep(0.2)
