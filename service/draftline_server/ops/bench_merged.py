"""Drafts and merged lists at size: what a page, a save and a commit cost beside the plain statements.

The records are films with variations, made in the database; the indexes are those that the
declaration asks for. A page is filtered by one declared field and sorted by another.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
import draftline
import grpc
import msgspec
from draftline.v1 import draft_pb2, draft_pb2_grpc, types_pb2
from rich.console import Console

from ..domain.merged import View
from ..domain.query import Comparison, Field, FieldType, Operator
from ..store.merged_order import OrderKey
from ..store.merged_query import Shape, page_statement
from . import bench_tables
from .bench_processes import BenchError
from .bench_tables import Limit
from .demo_steps import films

COLLECTION = "movies"
USER, EMPTY_HANDED = "drafter", "reader"
FILTER, ORDER = '"Major Genre" = "Drama"', '"Worldwide Gross" desc'
DECLARED = {"/Major Genre": "text", "/Production Budget": "number", "/Worldwide Gross": "number"}
ORDERS: list[list[str | draftline.SortKey]] = [
    [draftline.SortKey("/Worldwide Gross", descending=True)],
    ["/Major Genre", draftline.SortKey("/Worldwide Gross", descending=True)],
]
PAGE, MAX_PAGE = 100, 1_000
EDITS = 1_000  # in one save, and in one commit
ROUNDS, WARM_UP, SAMPLES = 60, 1, 4  # short rounds: a burst of load lasts for seconds
WRITES_WARM_UP, WRITES = 2, 9
# What changes plans among the settings of the service's own connections.
AS_THE_SERVICE = {"plan_cache_mode": "force_generic_plan", "jit": "off", "max_parallel_workers_per_gather": "0"}

Call = Callable[[], Awaitable[Any]]

MAKE_RECORDS = """
INSERT INTO draftline.record
SELECT $1, 'movies', 'film-' || lpad(g::text, 8, '0'),
    f.content || jsonb_build_object('Worldwide Gross', (random() * 1e9)::bigint, 'Number', g),
    1, NULL, NULL, now(), 'bench', now(), 'bench', NULL
FROM generate_series(0, $2::int - 1) AS g JOIN film AS f ON f.number = g % $3::int
"""
MAKE_DRAFTS = """
INSERT INTO draftline.draft
SELECT $1, $2, 'movies', record_id, 'CHANGE', edit, draftline.inverse(edit, content), 1,
    draftline.apply_edit(edit, content), 1, '', '', now(), now()
FROM (
    SELECT record_id, content,
        jsonb_build_object('s', jsonb_build_object('Worldwide Gross', (random() * 1e9)::bigint)) AS edit
    FROM draftline.record
    WHERE tenant_id = $1 AND collection = 'movies' AND (content ->> 'Number')::int % $3 = $4
) AS chosen
"""
PLAIN_PAGE = """
SELECT record_id, content::text, version, updated_at FROM draftline.record
WHERE tenant_id = $1 AND collection = 'movies' AND deleted_at IS NULL
  AND draftline.indexed_text_at(content, ARRAY['Major Genre']) COLLATE "C" = $2
ORDER BY draftline.number_at(content, ARRAY['Worldwide Gross']) DESC NULLS LAST, record_id
LIMIT 100
"""
PLAIN_INSERT = """
INSERT INTO draftline.draft
SELECT $1, 'plain', 'movies', p.record_id, 'CHANGE', '{}', '{}', 1, p.merged, 1, '', '', now(), now()
FROM unnest($2::text[], $3::jsonb[]) AS p (record_id, merged)
"""
CHANGED = """
SELECT (content || '{"Worldwide Gross": 1}')::text AS content FROM draftline.record
WHERE tenant_id = $1 AND collection = 'movies' AND record_id = ANY ($2::text[]) ORDER BY record_id
"""
PLAIN_UPDATE = """
UPDATE draftline.record AS r SET content = p.content, version = r.version + 1, updated_at = now()
FROM unnest($2::text[], $3::jsonb[]) AS p (record_id, content)
WHERE r.tenant_id = $1 AND r.collection = 'movies' AND r.record_id = p.record_id
"""


# By name: what is compared, and the limit that it should hold.
LIMITS = {
    "merged_sql_vs_plain": Limit("a merged page against the plain indexed read of 100 rows, both in SQL", at_most=5),
    "merged_page1000_vs_page1": Limit("GetMerged of a page deep in the list against the first", at_most=1.5),
    "merged_drafts5000_vs_0": Limit("GetMerged for a user with many drafts against one with none", at_most=1.5),
    "merged_1m_vs_10k": Limit("GetMerged over many records against few", at_most=1.5),
    "save_draft_vs_insert": Limit("SaveDraft of 1,000 edits against a plain INSERT, rows a second", at_least=0.3),
    "commit_vs_update": Limit("Commit of 1,000 drafts against a plain UPDATE, rows a second", at_least=0.3),
}


@dataclass(frozen=True, slots=True)
class MergedSizes:
    """How much there is: in a large and a small collection, and drafts over each."""

    records: int = 1_000_000
    few_records: int = 10_000
    own_drafts: int = 5_000
    other_drafts: int = 100_000
    deep: int = 1_000  # the page that is deep in the list; a quarter of the records is on that

    @classmethod
    def of(cls, *, quick: bool) -> MergedSizes:
        """The real thing, or a tenth and less of it for a look."""
        return cls(150_000, 15_000, 5_000, 15_000, 300) if quick else cls()


async def prepare(url: str, address: str, sizes: MergedSizes) -> None:
    """Makes the records of two tenants, one with many and one with few, and the drafts over both."""
    async with draftline.AsyncClient(address, tenant_id=_tenant(sizes.few_records), timeout=None) as client:
        await client.put_collection(COLLECTION, fields=DECLARED, orders=ORDERS)
    connection = await asyncpg.connect(url, server_settings={"statement_timeout": "0"})
    try:
        contents = [msgspec.json.Encoder(decimal_format="number").encode(content).decode() for _, content in films()]
        await connection.execute("CREATE TEMPORARY TABLE film (number int PRIMARY KEY, content jsonb)")
        await connection.copy_records_to_table("film", records=list(enumerate(contents)))
        for count in (sizes.few_records, sizes.records):
            await connection.execute(MAKE_RECORDS, _tenant(count), count, len(contents))
            others = min(sizes.other_drafts, count)
            for user, drafts in (
                (USER, min(sizes.own_drafts, count // 2)),
                *((f"u{i}", others // 20) for i in range(20)),
            ):
                step = max(1, count // max(1, drafts))
                await connection.execute(MAKE_DRAFTS, _tenant(count), user, step, 1 % step)
    finally:
        await connection.close()
    async with draftline.AsyncClient(address, tenant_id=_tenant(sizes.records), timeout=None) as client:
        await client.put_collection(COLLECTION, fields=DECLARED, orders=ORDERS)
    await _settle(url)


async def _settle(url: str) -> None:
    """Writes out what is dirty now, and not while it is measured."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("VACUUM ANALYZE draftline.record")
        await connection.execute("VACUUM ANALYZE draftline.draft")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def measure(url: str, address: str, sizes: MergedSizes) -> dict[str, float]:
    """Milliseconds by name: medians of a page, a save and a commit, and of the plain statements."""
    connection = await asyncpg.connect(url, max_cacheable_statement_size=65536, server_settings=AS_THE_SERVICE)
    many, few = _tenant(sizes.records), _tenant(sizes.few_records)
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = draft_pb2_grpc.DraftServiceStub(channel)
            pages = {
                "plain page, SQL": lambda: connection.fetch(PLAIN_PAGE, many, "Drama"),
                "merged page, SQL": _page_in_sql(connection, many),
                "merged page": _page(stub, many, USER),
                "merged page, deep in the list": _page(stub, many, USER, await _deep_token(stub, many, sizes.deep)),
                "merged page, no drafts": _page(stub, many, EMPTY_HANDED),
                "merged page, few records": _page(stub, few, USER),
            }
            return await _medians(pages) | await _writes(connection, stub, many)
    finally:
        await connection.close()


def ratios(found: Mapping[str, float]) -> Mapping[str, float]:
    """The figures against their limits: pages at most, writes at least."""
    page = found["merged page"]
    return {
        "merged_sql_vs_plain": found["merged page, SQL"] / found["plain page, SQL"],
        "merged_page1000_vs_page1": found["merged page, deep in the list"] / page,
        "merged_drafts5000_vs_0": page / found["merged page, no drafts"],
        "merged_1m_vs_10k": page / found["merged page, few records"],
        "save_draft_vs_insert": found[f"plain insert of {EDITS:,}"] / found[f"SaveDraft of {EDITS:,}"],
        "commit_vs_update": found[f"plain update of {EDITS:,}"] / found[f"Commit of {EDITS:,}"],
    }


def _tenant(records: int) -> str:
    return f"merged-{records}"


async def _medians(calls: Mapping[str, Call]) -> dict[str, float]:
    """Takes the samples in rounds, so that what else the machine does touches all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            for number in range(WARM_UP + SAMPLES):
                start = time.perf_counter()
                await call()
                if number >= WARM_UP:
                    times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) * 1000 for name, values in times.items()}


def _request(tenant_id: str, token: str = "") -> draft_pb2.GetMergedRequest:
    return draft_pb2.GetMergedRequest(
        tenant_id=tenant_id, collection=COLLECTION, filter=FILTER, order_by=ORDER, page_size=PAGE,
        page_token=token, response_encoding=types_pb2.ENCODING_JSON,
    )  # fmt: skip


def _page(stub: Any, tenant_id: str, user: str, token: str = "") -> Call:
    request = _request(tenant_id, token)

    async def call() -> None:
        answer = await stub.GetMerged(request, metadata=[("x-draftline-user", user)])
        assert len(answer.records) == PAGE, len(answer.records)  # noqa: S101  a measure of something else

    return call


async def _deep_token(stub: Any, tenant_id: str, deep: int) -> str:
    """Where page `deep` begins; got at in pages of ten times the size, as far as they go."""
    token = ""
    for left in range((deep - 1) * PAGE, 0, -MAX_PAGE):
        request = _request(tenant_id, token)
        request.page_size = min(MAX_PAGE, left)
        token = (await stub.GetMerged(request, metadata=[("x-draftline-user", USER)])).next_page_token
        if not token:
            raise BenchError(f"the list ends before page {deep:,}")
    return token


def _page_in_sql(connection: Any, tenant_id: str) -> Call:
    genre = Comparison(Field(("Major Genre",)), FieldType.TEXT, Operator.EQ, "Drama", indexed=True)
    order = (OrderKey(Field(("Worldwide Gross",)), FieldType.NUMBER, descending=True, declared=True),)
    shape = Shape(COLLECTION, genre, order, View.MERGED, False, False, False)
    statement, fixed = page_statement(shape)
    values = {**fixed, "tenant_id": tenant_id, "user_id": USER, "limit": PAGE + 1, "max_bytes": 4 << 20}
    arguments = statement.arguments(values)
    return lambda: connection.fetch(statement.sql, *arguments)


async def _writes(connection: Any, stub: Any, tenant_id: str) -> dict[str, float]:
    """Saves and commits, each beside the plain statement on other rows of the same kind, in turn."""
    times: dict[str, list[float]] = {}

    async def timed(name: str, call: Awaitable[Any]) -> None:
        start = time.perf_counter()
        await call
        times.setdefault(f"{name} of {EDITS:,}", []).append((time.perf_counter() - start) * 1000)

    user = [("x-draftline-user", "writer")]
    commit = draft_pb2.CommitRequest(tenant_id=tenant_id, collection=COLLECTION, all=True)
    for turn in range(WRITES_WARM_UP + WRITES):
        ids, plain_ids = _ids(2 * turn), _ids(2 * turn + 1)
        contents = [row["content"] for row in await connection.fetch(CHANGED, tenant_id, plain_ids)]
        save = draft_pb2.SaveDraftRequest(tenant_id=tenant_id, collection=COLLECTION, omit_content=True)
        for record_id in ids:
            save.edits.add(record_id=record_id).delta.json = f'{{"Worldwide Gross": {turn + 2}}}'
        await timed("plain insert", connection.execute(PLAIN_INSERT, tenant_id, plain_ids, contents))
        await timed("SaveDraft", stub.SaveDraft(save, metadata=user))
        await timed("plain update", connection.execute(PLAIN_UPDATE, tenant_id, plain_ids, contents))
        await timed("Commit", stub.Commit(commit, metadata=user))
    await connection.execute("DELETE FROM draftline.draft WHERE tenant_id = $1 AND user_id = 'plain'", tenant_id)
    return {name: statistics.median(values[WRITES_WARM_UP:]) for name, values in times.items()}


def _ids(stretch: int) -> list[str]:
    return [f"film-{number:08}" for number in range(stretch * EDITS, (stretch + 1) * EDITS)]


def run(url: str, address: str, sizes: MergedSizes, console: Console) -> None:
    """Prepares, measures and prints. Raises BenchError if the list is too short for what is asked."""
    drafts = sizes.own_drafts + sizes.other_drafts
    console.print(f"{sizes.records:,} records, {drafts:,} drafts, pages of {PAGE}; making them takes a while")
    asyncio.run(prepare(url, address, sizes))
    found = asyncio.run(measure(url, address, sizes))
    console.print(bench_tables.milliseconds(found, "Merged lists: medians"))
    values = ratios(found)
    console.print(bench_tables.ratios((name, limit, values[name]) for name, limit in LIMITS.items()))
