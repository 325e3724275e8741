"""The PostgreSQL connector: each write once, whatever happens to its COMMIT, and reads that miss no row."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from draftline.upstreams import (
    Applied,
    CollectionBinding,
    Create,
    Delete,
    FieldProblem,
    PathEdit,
    Refused,
    Unknown,
    UnreachableError,
    Update,
    WriteItem,
)
from draftline_server.upstreams.postgres import connector
from draftline_server.upstreams.registry import Upstreams
from support.servers import cloned, run_sql
from support.tcp_proxy import Fate, Way, before_postgres
from support.toy_upstream import endpoints


@pytest.fixture(scope="module")
def url(postgres_url: str) -> Iterator[str]:
    """An empty database."""
    with cloned(postgres_url, "template0") as made:
        yield made


@pytest.fixture
def table(url: str) -> str:
    """A table of its own for a test."""
    name = f"t_{uuid.uuid4().hex[:8]}"
    run_sql(
        url,
        f"""CREATE TABLE {name} (id text PRIMARY KEY, n int NOT NULL CONSTRAINT {name}_small CHECK (n < 100),
            price numeric, day date, config jsonb, tags text[], changed timestamptz, xid xid8)""",
    )
    return name


@asynccontextmanager
async def opened(url: str, table: str, **roles: Any) -> AsyncIterator[Any]:
    definition = {"kind": "postgres", "url_file": "url", "tenants": ["acme"], "timeout_s": 20}
    current = endpoints({"url": url}, db={**definition, "tables": {"parts": {"table": table, **roles}}})
    upstream = Upstreams(lambda: current).open("db", "acme", [CollectionBinding(collection="parts")])
    try:
        yield upstream
    finally:
        await upstream.close()


def created(record_id: str, **content: Any) -> WriteItem:
    return WriteItem(idempotency_key=str(uuid.uuid4()), record_id=record_id, write=Create(content))


async def edited(upstream: Any, record_id: str, *edits: PathEdit) -> Any:
    item = WriteItem(idempotency_key=str(uuid.uuid4()), record_id=record_id, remote_id=record_id, write=Update(edits))
    (outcome,) = await upstream.write("parts", [item])
    assert not isinstance(outcome, Unknown)
    return outcome


async def changed(upstream: Any, cursor: str | None) -> tuple[set[str], str]:
    pages = [page async for page in upstream.changes("parts", cursor)]
    return {each.remote_id for page in pages for each in page.records}, pages[-1].cursor


async def test_write_whose_commit_was_lost_is_unknown_and_its_repeat_is_applied_once(url: str, table: str) -> None:
    with before_postgres(url) as (proxy, through):
        async with opened(through, table) as upstream:
            assert [type(each) for each in await upstream.write("parts", [created("warm", n=1)])] == [Applied]
            item = created("r", n=2)
            proxy.judge = lambda way, data: Fate.CUT_AFTER if way is Way.THERE and b"COMMIT" in data else Fate.PASS
            assert [type(each) for each in await upstream.write("parts", [item])] == [Unknown]
            proxy.judge = None
            (outcome,) = await upstream.write("parts", [item])
            assert isinstance(outcome, Applied)
            assert isinstance(await edited(upstream, "r", PathEdit("/n", 3)), Applied)
            (again,) = await upstream.write("parts", [item])
    assert again.stored.document["n"] == 3


async def test_refused_row_names_what_is_wrong_and_the_others_are_written(url: str, table: str) -> None:
    async with opened(url, table) as upstream:
        items = [created("a", n=1), created("b", n=100), created("c"), created("d", n="x"), created("e", m=1, n=1)]
        applied, small, missing, text, unknown = await upstream.write("parts", items)
        found = await upstream.lookup("parts", ["a", "b"])
    assert isinstance(applied, Applied)
    assert (small.reason, small.fields) == (f"{table}_small", ())
    assert [each.path for each in missing.fields] == ["/n"]
    assert text.reason == "SQLSTATE_22P02"
    assert unknown == Refused("UNKNOWN_COLUMN", "the table has no column m", (FieldProblem("/m", "is not a column"),))
    assert [each.deleted for each in found] == [False, True]


async def test_every_error_that_a_value_causes_refuses_its_row_only(url: str, table: str) -> None:
    """An error of a trigger's own class, and a value that is too long for an index, stop no other row."""
    run_sql(
        url,
        f'ALTER TABLE {table} ADD name text COLLATE "C", ADD doubled int GENERATED ALWAYS AS (n * 2) STORED',
        f"CREATE INDEX ON {table} (name)",
        f"""CREATE FUNCTION {table}_check() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN IF new.n = 13 THEN RAISE 'unlucky' USING ERRCODE = '45001'; END IF; RETURN new; END $$""",
        f"CREATE TRIGGER checks BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_check()",
    )
    long = "".join(uuid.uuid4().hex for _ in range(500))  # which does not compress to the size of an entry
    async with opened(url, table) as upstream:
        unlucky, too_long, applied = await upstream.write(
            "parts", [created("a", n=13), created("b", n=1, name=long), created("c", n=2, doubled=7)]
        )
        changed_there = await edited(upstream, "c", PathEdit("/doubled", 9))
    assert (unlucky.reason, unlucky.message, too_long.reason) == ("SQLSTATE_45001", "unlucky", "SQLSTATE_54000")
    assert applied.stored.document == {"n": 2, "doubled": 4}
    problem = FieldProblem("/doubled", "is generated by the database")
    assert changed_there == Refused("GENERATED_COLUMN", "the database generates the column doubled", (problem,))


async def test_columns_that_change_while_a_worker_runs_are_seen(
    url: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write a column that was added after it was refused, go on after one was dropped, and read new ones in time."""
    async with opened(url, table) as upstream:
        (refused,) = await upstream.write("parts", [created("a", n=1, note="x")])
        assert refused.reason == "UNKNOWN_COLUMN"
        run_sql(url, f"ALTER TABLE {table} ADD note text")
        (applied,) = await upstream.write("parts", [created("a", n=1, note="x")])
        assert applied.stored.document == {"n": 1, "note": "x"}
        run_sql(url, f"ALTER TABLE {table} DROP note")
        with pytest.raises(UnreachableError):
            await upstream.write("parts", [created("b", n=1, note="x")])
        (refused,) = await upstream.write("parts", [created("b", n=1, note="x")])
        assert refused.reason == "UNKNOWN_COLUMN"
        assert [type(each) for each in await upstream.write("parts", [created("b", n=1)])] == [Applied]
        run_sql(url, f"ALTER TABLE {table} ADD later int DEFAULT 7")
        monkeypatch.setattr(connector, "REFLECTED_S", -1.0)
        (found,) = await upstream.lookup("parts", ["b"])
    assert found.document == {"n": 1, "later": 7}


async def test_row_with_the_time_of_its_deletion_is_created_again(url: str, table: str) -> None:
    """Fill every column but those that the database generates, and take the time away."""
    run_sql(url, f"ALTER TABLE {table} ADD gone timestamp, ADD number int GENERATED ALWAYS AS IDENTITY")
    async with opened(url, table, deleted="gone") as upstream:
        (first,) = await upstream.write("parts", [created("r", n=1, day="2026-11-29")])
        item = WriteItem(idempotency_key=str(uuid.uuid4()), record_id="r", remote_id="r", write=Delete())
        assert [type(each) for each in await upstream.write("parts", [item])] == [Applied]
        (gone,) = await upstream.lookup("parts", ["r"])
        (again,) = await upstream.write("parts", [created("r", n=2)])
    assert (first.stored.document["number"], gone.deleted) == (1, True)
    assert again.stored.document == {"n": 2, "number": 1}


async def test_values_have_the_types_of_their_columns(url: str, table: str) -> None:
    price = Decimal("12345678901234567890.0123456789")
    content = {"n": 1, "price": price, "day": "2026-11-29", "config": {"a": {"b": 1}, "c": [1]}, "tags": ["x", "y"]}
    async with opened(url, table) as upstream:
        (outcome,) = await upstream.write("parts", [created("r", **content)])
        assert outcome.stored.document == content
        edits = (PathEdit("/config/a/b", 2), PathEdit("/config/c", removed=True), PathEdit("/tags", removed=True))
        outcome = await edited(upstream, "r", *edits)
    assert outcome.stored.document == {"n": 1, "price": price, "day": "2026-11-29", "config": {"a": {"b": 2}}}


async def test_row_of_a_transaction_that_commits_late_is_not_missed_by_transaction_ids(url: str, table: str) -> None:
    insert = f"INSERT INTO {table} (id, n, xid) VALUES ($1, 1, pg_current_xact_id())"
    late = await asyncpg.connect(url)
    early = await asyncpg.connect(url)
    try:
        async with opened(url, table, transaction_id="xid") as upstream:
            _, cursor = await changed(upstream, None)
            async with late.transaction():
                await late.execute(insert, "late")
                await early.execute(insert, "early")
                _, between = await changed(upstream, cursor)
            seen, _ = await changed(upstream, between)
            assert seen == {"late", "early"}
    finally:
        await late.close()
        await early.close()


async def test_row_with_an_older_time_is_found_within_the_overlap(url: str, table: str) -> None:
    insert = f"INSERT INTO {table} (id, n, changed) VALUES ($1, 1, $2::text::timestamptz)"
    connection = await asyncpg.connect(url)
    try:
        async with opened(url, table, updated="changed", overlap_s=60) as upstream:
            await connection.execute(insert, "first", "2026-11-29 10:00:00Z")
            seen, cursor = await changed(upstream, None)
            await connection.execute(insert, "late", "2026-11-29 09:59:10Z")
            await connection.execute(insert, "too late", "2026-11-29 09:58:00Z")
            again, _ = await changed(upstream, cursor)
    finally:
        await connection.close()
    assert (seen, again) == ({"first"}, {"first", "late"})


@pytest.mark.parametrize("zone", ["timestamptz", "timestamp"])
async def test_row_with_a_time_in_the_future_hides_no_later_change(url: str, table: str, zone: str) -> None:
    """Read rows that change after a row of a wrong clock, also after a snapshot."""
    run_sql(url, f"ALTER TABLE {table} ADD stamped {zone}")
    insert = f"INSERT INTO {table} (id, n, stamped) VALUES ($1, 1, now() + $2::text::interval)"
    connection = await asyncpg.connect(url)
    try:
        async with opened(url, table, updated="stamped", overlap_s=2 * 86_400) as upstream:
            await connection.execute(insert, "wrong", "10 years")
            _, cursor = await changed(upstream, None)
            pages = [page async for page in upstream.snapshot("parts", None)]
            await connection.execute(insert, "right", "0")
            for start in (cursor, pages[-1].changes_cursor):
                seen, _ = await changed(upstream, start)
                assert "right" in seen
    finally:
        await connection.close()


async def test_error_says_what_is_wrong_without_the_password(url: str, table: str) -> None:
    async with opened(url, "nothing") as upstream:
        with pytest.raises(UnreachableError, match=r"there is no table public\.nothing"):
            await upstream.lookup("parts", ["r"])
    async with opened(url, table, version="v") as upstream:
        with pytest.raises(UnreachableError, match="the table has no column v"):
            await upstream.lookup("parts", ["r"])
    async with opened(url, table, deleted="n") as upstream:
        with pytest.raises(UnreachableError, match="the column n must be boolean or a timestamp"):
            await upstream.lookup("parts", ["r"])
    async with opened(url, table, reference="day") as upstream:
        with pytest.raises(UnreachableError, match="the column day needs a unique index"):
            await upstream.lookup("parts", ["r"])
    async with opened("postgresql://ada:the-password@127.0.0.1:1/x", table) as upstream:
        with pytest.raises(UnreachableError) as raised:
            await upstream.write("parts", [created("r", n=1)])
    assert "the-password" not in repr(raised.value)
