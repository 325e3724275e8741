"""Measure pages of long merged lists against the plain read.

A page is filtered by one declared field and sorted by another.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import asyncpg
import grpc
import uvloop
from draftline.v1 import draft_pb2, types_pb2
from draftline_server.domain.filters.ast import Field, FieldType, Operator
from draftline_server.domain.filters.conditions import Comparison
from draftline_server.domain.merged import View
from draftline_server.store.collections.cache import collection_spec_of
from draftline_server.store.lists.branches import ListQueryKey
from draftline_server.store.lists.entries import choose, ranges_for
from draftline_server.store.lists.order import OrderKey
from draftline_server.store.lists.query import page_statement
from draftline_server.store.statements import load
from grpc_health.v1 import health_pb2

from . import drafts, lists, stream
from .baseline import SERVICE_SETTINGS
from .environment import Environment
from .lists import COLLECTION, tenant_of, user_with
from .measurements import Measurements
from .processes import BenchError
from .sizes import Part, Sizes

FILTER, ORDER = '"Major Genre" = "Drama"', '"Worldwide Gross" desc'
PAGE, MAX_PAGE = 100, 1_000
WARM_UP, SAMPLES = 1, 4  # calls for each kind of page in each round

EMPTY_ALONE = "empty rpc, alone"
PLAIN_SQL = "the plain indexed read of a page, SQL"
MERGED_SQL = "a merged page, SQL"
DEEP = "GetMerged, a page deep in the list"

Call = Callable[[], Awaitable[Any]]

PLAIN_PAGE = """
SELECT record_id, content::text, version, updated_at FROM public.plain_list
WHERE tenant_id = $1 AND draftline.indexed_text_at(content, ARRAY['Major Genre']) COLLATE "C" = $2
ORDER BY draftline.number_at(content, ARRAY['Worldwide Gross']) DESC NULLS LAST, record_id
LIMIT 100
"""


def page_of(records: int, own_drafts: int) -> str:
    """Return the name of the figure for the first page of a list."""
    return f"GetMerged, {records:,} records, {own_drafts:,} own drafts"


def measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    """Measure merged lists, drafts and streams. Raise BenchError if a list is too short."""
    if sizes.records < drafts.RECORDS:
        raise BenchError(f"the part {Part.MERGED.value} needs at least {drafts.RECORDS:,} records, to save drafts of")
    uvloop.run(lists.prepare(environment, sizes))
    uvloop.run(_measure(environment, sizes, measurements))
    stream.measure(environment, sizes, measurements)


async def _measure(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    connection = await asyncpg.connect(
        environment.url, max_cacheable_statement_size=65536, server_settings=SERVICE_SETTINGS
    )
    try:
        async with grpc.aio.insecure_channel(environment.address) as channel:
            pages = _Pages(environment, channel)
            for name, times_s in (await _times_s(await _calls(pages, connection, sizes), sizes.page_rounds)).items():
                measurements.add_times(name, times_s, limit=PLAIN_SQL if name == MERGED_SQL else "")
            await drafts.measure(environment, connection, channel, tenant_of(sizes.records), measurements)
    finally:
        await connection.close()


async def _calls(pages: _Pages, connection: Any, sizes: Sizes) -> Mapping[str, Call]:
    many, most = sizes.records, max(sizes.own_drafts)
    calls = {
        EMPTY_ALONE: pages.empty,
        PLAIN_SQL: lambda: connection.fetch(PLAIN_PAGE, tenant_of(many), "Drama"),
        MERGED_SQL: await _page_in_sql(connection, tenant_of(many), user_with(most)),
    }
    for count in sizes.lengths:
        for own in sizes.own_drafts:
            calls[page_of(count, own)] = await pages.page(count, own)
    calls[DEEP] = await pages.page(many, most, await pages.deep_token(many, most, sizes.deep_page))
    return calls


async def _times_s(calls: Mapping[str, Call], rounds: int) -> Mapping[str, Sequence[float]]:
    """Time the calls in rounds, so that other load on the machine affects all of them alike."""
    times_s: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            for number in range(WARM_UP + SAMPLES):
                start = time.perf_counter()
                await call()
                if number >= WARM_UP:
                    times_s[name].append(time.perf_counter() - start)
    return times_s


class _Pages:
    """Calls with serialized requests and answers, so that our own work affects the results little."""

    def __init__(self, environment: Environment, channel: grpc.aio.Channel) -> None:
        self._environment = environment
        self._get_merged: Any = channel.unary_unary("/draftline.v1.DraftService/GetMerged")
        self._check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")

    async def empty(self) -> None:
        await self._check(health_pb2.HealthCheckRequest().SerializeToString())

    async def page(self, records: int, own_drafts: int, page_token: str = "") -> Call:
        request = _request(records, page_token).SerializeToString()
        metadata = self._metadata(records, own_drafts)
        response = draft_pb2.GetMergedResponse.FromString(await self._get_merged(request, metadata=metadata))
        if len(response.records) < PAGE:
            raise BenchError(f"a page of {records:,} records has {len(response.records)} of them: that is too few")
        return lambda: self._get_merged(request, metadata=metadata)

    async def deep_token(self, records: int, own_drafts: int, deep: int) -> str:
        """Return the token of page `deep`, reached by pages of up to ten times the size.

        Raise BenchError if the list ends before.
        """
        token = ""
        for left in range((deep - 1) * PAGE, 0, -MAX_PAGE):
            request = _request(records, token)
            request.page_size = min(MAX_PAGE, left)
            answer = await self._get_merged(request.SerializeToString(), metadata=self._metadata(records, own_drafts))
            token = draft_pb2.GetMergedResponse.FromString(answer).next_page_token
            if not token:
                raise BenchError(f"the list ends before page {deep:,}")
        return token

    def _metadata(self, records: int, own_drafts: int) -> tuple[tuple[str, str], ...]:
        token = self._environment.token([tenant_of(records)], user_with(own_drafts))
        return (("authorization", f"Bearer {token}"),)


def _request(records: int, page_token: str) -> draft_pb2.GetMergedRequest:
    return draft_pb2.GetMergedRequest(
        tenant_id=tenant_of(records), collection=COLLECTION, filter=FILTER, order_by=ORDER, page_size=PAGE,
        page_token=page_token, response_encoding=types_pb2.ENCODING_JSON,
    )  # fmt: skip


async def _page_in_sql(connection: Any, tenant_id: str, user_id: str) -> Call:
    rows = await connection.fetch(load("collections")["get_definitions"].sql, tenant_id, [COLLECTION])
    ready = collection_spec_of(rows[0]).ready_orders
    genre = Comparison(Field(("Major Genre",)), FieldType.TEXT, Operator.EQ, "Drama", indexed=True)
    order = (OrderKey(Field(("Worldwide Gross",)), FieldType.NUMBER, descending=True, declared=True),)
    shape = ListQueryKey(COLLECTION, genre, order, View.MERGED, False, False, False)
    entries = choose(ranges_for(ready, genre, order, [tenant_id, COLLECTION, user_id])).in_order
    if entries is None:
        raise BenchError(f"no order of {COLLECTION} has the order of the page")
    key, bound = entries.query_of(shape, genre)
    statement, fixed = page_statement(key)
    values = {**fixed, **bound, "tenant_id": tenant_id, "user_id": user_id, "collection": COLLECTION}
    values |= {"limit": PAGE + 1, "max_bytes": 4 << 20}
    arguments = statement.arguments(values)
    return lambda: connection.fetch(statement.sql, *arguments)
