"""The log is read in its order through all weeks at once, and before there are statistics of any."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from draftline_server.domain.records import Patch
from draftline_server.rpc.mapping.changes import to_change_filter
from draftline_server.store.change_log.feed import MAX_ROWS, MAX_SCANNED, Feed, LogPosition, Scope
from draftline_server.store.database import Database
from draftline_server.store.statements import Statement
from support.aged_change_log import WEEK, monday_of, start_of, weeks
from support.query_plans import explained, nodes, rows_read
from support.servers import cloned
from support.tenant_changes import LoggedWorld

WEEKS, CHANGES = 9, 180_000
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


@pytest.fixture(scope="module", params=["new", "analyzed"])
async def url(postgres_url: str, template: str, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """Nine weeks of the log, and partitions for four more."""
    with cloned(postgres_url, template) as made:
        connection = await asyncpg.connect(made)
        first = monday_of(datetime.now(UTC)) - (WEEKS - 1) * WEEK
        for n in range(WEEKS - 1):
            await connection.execute("SELECT draftline.add_change_partition($1)", first + n * WEEK)
        assert len(await weeks(connection)) >= WEEKS + 4
        await connection.execute(FILL, start_of(first))
        await connection.execute("UPDATE draftline.change_log SET horizon = $1", CHANGES)
        await connection.execute("SELECT draftline.keep_log_order()")
        if request.param == "analyzed":
            await connection.execute("ANALYZE draftline.change")
        await connection.close()
        yield made


@pytest.fixture
async def log(url: str) -> AsyncIterator[Capturing]:
    database = Capturing(url)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """One that plans as the service's own do."""
    settings = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}
    connected = await asyncpg.connect(url, server_settings=settings)
    yield connected
    await connected.close()


@pytest.mark.parametrize("collection", ["", "films"])
async def test_feed_is_read_in_its_order_from_every_week(
    log: Capturing, connection: asyncpg.Connection, collection: str
) -> None:
    for after in (LogPosition(0, 0), LogPosition(CHANGES // 6, 0), LogPosition(CHANGES // 3 - 1, 0)):
        page = await Feed(log, 1).read(Scope("t", collection), after)
        assert len(page.entries) == min(MAX_ROWS, rows_after(after))
        # Only the feed of a whole tenant passes over notices of drafts, so it looks how far it may go.
        await check_plan(connection, log, MAX_ROWS if collection else MAX_ROWS + MAX_SCANNED)


async def test_feed_of_a_filter_that_matches_nothing_looks_at_a_limited_number_of_changes(
    log: Capturing, connection: asyncpg.Connection
) -> None:
    scope = Scope("t").filtered(to_change_filter('record_id = "nothing"'))
    page = await Feed(log, 1).read(scope, LogPosition(0, 0))
    assert (len(page.entries), page.more) == (0, True)
    assert rows_after(LogPosition(0, 0)) - rows_after(page.end) == MAX_SCANNED
    await check_plan(connection, log, 2 * MAX_SCANNED)


@pytest.mark.parametrize("text", ['record_id = "nothing"', 'user_id = "ada" AND record_id = "nothing"'])
async def test_list_by_what_no_index_leads_to_looks_at_a_limited_number_of_changes(
    log: Capturing, connection: asyncpg.Connection, text: str
) -> None:
    page = await LoggedWorld(log, "t").page(text, page_size=100)
    assert page.changes == []
    await check_plan(connection, log, 2 * MAX_SCANNED)


async def test_changes_of_a_quiet_collection_are_read_without_those_of_others(
    log: Capturing, connection: asyncpg.Connection
) -> None:
    world = LoggedWorld(log, "t")
    await world.patches.patch(
        world.actor("ada"), Patch("quiet", "1", allow_missing=True), change_reason="", validate_only=False
    )
    page = await world.page(collection="quiet", page_size=100)
    assert [change.collection for change in page.changes] == ["quiet"]
    await check_plan(connection, log, 1)
    page = await world.page('source = "PATCH_CONTENT"', collection="quiet", page_size=100)
    assert len(page.changes) == 1
    await check_plan(connection, log, 2)
    feed = await Feed(log, 1).read(Scope("t", "quiet"), LogPosition(0, 0))
    assert len(feed.entries) == 1
    await check_plan(connection, log, 1)


@pytest.mark.parametrize("oldest_first", [False, True])
async def test_list_of_a_collection_is_read_in_its_order_from_every_week(
    log: Capturing, connection: asyncpg.Connection, oldest_first: bool
) -> None:
    page = await LoggedWorld(log, "t").page(collection="films", page_size=100, oldest_first=oldest_first)
    assert len(page.changes) == 100
    await check_plan(connection, log, 101)


async def check_plan(connection: asyncpg.Connection, log: Capturing, limit: int) -> None:
    plan, _ = await explained(connection, log.statement, log.values)
    scans = [node for node in nodes(plan) if node.get("Relation Name", "").startswith("change_2")]
    assert {node["Node Type"] for node in scans} <= {"Index Scan", "Index Only Scan"}
    assert "Merge Append" in {node["Node Type"] for node in nodes(plan)}
    # The first row of each week has to be looked at to know whose is next.
    assert rows_read(plan) <= limit + 2 * (WEEKS + 5) + 2


def rows_after(place: LogPosition) -> int:
    return sum(n % 2 == 0 and (n // 3, n) > (place.xact, place.change_id) for n in range(1, CHANGES + 1))
