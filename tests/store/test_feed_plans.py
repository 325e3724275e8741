"""Watchers read the log from where they are, through all weeks at once, and before there are statistics of any."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from draftline_server.store.engine import Database
from draftline_server.store.feed import MAX_ROWS, Feed, Place, Scope
from draftline_server.store.statements import Statement
from explained import explained, nodes, rows_read
from kept_log import WEEK, monday_of, start_of, weeks

WEEKS, CHANGES = 9, 60_000
FILL = f"""
    INSERT INTO draftline.change (tenant_id, log_xact, change_id, collection, record_id, version, kind, source, edit,
        base, user_id, session_id, change_reason, created_at)
    SELECT CASE WHEN n % 2 = 0 THEN 't' ELSE 'other' END, n / 3, n, 'films', (n % 1000)::text, 1 + n / 1000, 'UPDATE',
        'PATCH_CONTENT', '{{"s": {{"a": 1}}}}', '{{"s": {{"a": 2}}}}', 'ada', '', '',
        $1::timestamptz + n * interval '{WEEKS} weeks' / {CHANGES + 1}
    FROM generate_series(1, {CHANGES}) AS n
"""


class Capturing(Database):
    """Keeps what was sent last."""

    statement: Statement
    values: dict[str, object]

    async def fetch(self, statement: Statement, values: dict[str, object], **options: Any) -> Any:
        self.statement, self.values = statement, values
        return await super().fetch(statement, values, **options)


@pytest.fixture
async def log(database_url: str, connection: asyncpg.Connection) -> AsyncIterator[Capturing]:
    """Nine weeks of it, and partitions for four more."""
    first = monday_of(datetime.now(UTC)) - (WEEKS - 1) * WEEK
    for n in range(WEEKS - 1):
        await connection.execute("SELECT draftline.add_change_partition($1)", first + n * WEEK)
    assert len(await weeks(connection)) >= WEEKS + 4
    await connection.execute(FILL, start_of(first))
    await connection.execute("UPDATE draftline.change_log SET horizon = $1", CHANGES)
    await connection.execute("SELECT draftline.keep_log_order()")
    database = Capturing(database_url)
    await database.open()
    yield database
    await database.close()


@pytest.mark.parametrize("analyzed", [False, True], ids=["new", "analyzed"])
async def test_feed_is_read_in_its_order_from_every_week(
    log: Capturing, connection: asyncpg.Connection, analyzed: bool
) -> None:
    if analyzed:
        await connection.execute("ANALYZE draftline.change")
    for setting in ("plan_cache_mode = force_generic_plan", "enable_seqscan = off", "jit = off"):
        await connection.execute(f"SET {setting}")
    for after in (Place(0, 0), Place(CHANGES // 6, 0), Place(CHANGES // 3 - 1, 0)):
        page = await Feed(log, 1).read(Scope("t"), after)
        plan, _ = await explained(connection, log.statement, log.values)
        scans = [node for node in nodes(plan) if node.get("Relation Name", "").startswith("change_2")]
        assert {node["Node Type"] for node in scans} <= {"Index Scan", "Index Only Scan"}
        assert "Merge Append" in {node["Node Type"] for node in nodes(plan)}
        assert len(page.entries) == min(MAX_ROWS, rows_after(after))
        # The first row of each week has to be looked at to know whose is next.
        assert rows_read(plan) <= MAX_ROWS + 2 * (WEEKS + 5) + 2


def rows_after(place: Place) -> int:
    return sum(n % 2 == 0 and (n // 3, n) > (place.xact, place.change_id) for n in range(1, CHANGES + 1))
