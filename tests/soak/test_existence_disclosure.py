"""The cost of a call does not disclose the data of other tenants, so its duration does not either.

Calls are made where another tenant has the same records, drafts, declarations, commits and request ids and has asked
the same before, and where nobody has. What is sent to PostgreSQL must be the same, and so must what PostgreSQL looks
up and touches for it, by its own count. How long it takes is told, and not asserted.
"""

from __future__ import annotations

import random
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import grpc
import pytest
from draftline.v1 import change_pb2, collection_pb2, content_pb2, draft_pb2, sync_pb2
from draftline_server.background import order_entries
from draftline_server.store import pool
from draftline_server.store.collections import cache as specs
from support.authenticated_server import METHODS, OPERATOR_METHODS
from support.change_calls import Changes
from support.idempotent_calls import TABLES, Caller, Request
from support.mutating_calls import MUTATIONS, Mutation, nothing, with_id
from support.polling import eventually, until
from support.responses import TIMEOUT_S, refusal_in, refusal_of
from support.sent_statements import sent
from support.servers import RunningServer, cloned, serving
from support.soak_scale import IS_SOAK, length

CALLS = length("EXISTENCE_CALLS", 20, soak=2_000)  # of each kind, for the times that are told
TRIES = 3
SHUFFLES = length("EXISTENCE_SHUFFLES", 200, soak=2_000)
FLUSH = "SELECT pg_stat_force_next_flush()"  # what a connection did is counted at once, and not within a second
TABLE = r"regexp_replace(relname, '_(\d{8}|default)$', '')"  # which a partition is of
RESETTING = pool._resetting
STATES = {each.prepare.__name__.strip("_"): each.prepare for each in MUTATIONS}  # what tenants may have
# The short form tries one write of each rpc, and every third state.
TRIED = MUTATIONS if IS_SOAK else [*{each.method: each for each in MUTATIONS}.values()]
TRIED_STATES = [*STATES][:: 1 if IS_SOAK else 3]
PREVIEWS = {
    each.method: each for each in MUTATIONS
    if each.method not in ("ImportContent", "SaveDraft") and "Sync" not in each.method and each.method != "LinkRecord"
}  # fmt: skip

Asked = Sequence[tuple[str, Request]]
Asking = Callable[[Caller, Caller], Asked]  # what the first asks, who may know what the second has


@dataclass(frozen=True)
class Cost:
    """The responses of calls, the statements that they sent, and the rows that these read and wrote, by table."""

    outcomes: list[str]
    sent: list[str]
    touched: dict[str, list[int]]


@dataclass
class Meter:
    """A server of one connection, so that nothing is done beside the calls that are measured."""

    server: RunningServer
    channel: grpc.Channel
    connection: asyncpg.Connection
    seen: list[str] = field(default_factory=list)

    def tenant(self) -> Caller:
        return Caller(self.channel, f"tenant-{uuid.uuid4().hex[:12]}")

    async def is_quiet(self) -> bool:
        """Return whether the background work after the start of the server is done and has been for a while."""
        count = "SELECT count(*) FROM pg_stat_user_tables WHERE relname = ANY ($1) AND seq_scan + idx_scan > 0"
        return bool(await self.connection.fetchval(count, ["request", "collection_order"]) == 2)

    async def keep_statistics(self) -> None:
        """Plans go by them, and are not to change meanwhile."""
        for table in await self._names("relkind = 'r'"):
            await self.connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")

    async def empty(self) -> None:
        """Takes away all that any tenant has."""
        tables = await self._names(f"relkind = 'r' AND {TABLE} = ANY ($1) AND pg_relation_size(oid) > 0", TABLES)
        if tables:
            await self.connection.execute(f"TRUNCATE {', '.join(tables)}")
        await self.connection.execute(FLUSH)

    async def cost(self, caller: Caller, asked: Asked) -> Cost:
        await self._settle()  # what was asked before, of a watch that was left
        before = await self._touched()
        self.seen.clear()
        outcomes = self.ask(caller, asked)
        await self._settle()
        after = await self._touched()
        touched = {
            table: [now - then for now, then in zip(after[table], before[table], strict=True)] for table in after
        }
        return Cost(outcomes, sent(self.seen), touched)

    def ask(self, caller: Caller, asked: Asked) -> list[str]:
        return [self._outcome(caller, method, request) for method, request in asked]

    def _outcome(self, caller: Caller, method: str, request: Request) -> str:
        try:
            if method == "WatchChanges":
                self.watch(caller, request)
            elif method == "StreamMerged":
                list(caller.drafts.send(method, request))
            elif method == "StreamPatches":
                results = [result for each in caller.send(method, request) for result in each.results]
                return " ".join(refusal_in(each.status).reason if each.status.code else "OK" for each in results)
            else:
                caller.send(method, request)
        except grpc.RpcError as error:
            reason = refusal_of(error).reason
            assert reason != "INTERNAL"
            return reason
        return "OK"

    def watch(self, caller: Caller, request: change_pb2.WatchChangesRequest) -> str:
        """The first token, once the log was read."""
        place = len(self.seen)
        watch = Changes(self.channel, caller.tenant_id).stub.WatchChanges(request, timeout=TIMEOUT_S)
        token: str = next(watch).resume_token
        until(lambda: "read_feed" in sent(self.seen[place:]))
        watch.cancel()
        return token

    async def _names(self, condition: str, *values: object) -> list[str]:
        query = "SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'draftline'::regnamespace AND "
        return [row["name"] for row in await self.connection.fetch(query + condition, *values)]

    async def _settle(self) -> None:
        """Until what was asked is over and counted: a connection of one's own is counted when it is gone."""
        self.ask(self.tenant(), [("GetCollection", collection_pb2.GetCollectionRequest(tenant_id="x", collection="x"))])
        is_alone = """
            SELECT count(*) = 1 FROM pg_stat_activity
            WHERE application_name = 'draftline' AND datname = current_database()
        """
        await eventually(lambda: self.connection.fetchval(is_alone))

    async def _touched(self) -> dict[str, list[int]]:
        """By table, its partitions taken together: scans, and rows found and written."""
        rows = await self.connection.fetch(
            f"""
            SELECT {TABLE} AS table,
                array[sum(seq_scan), sum(seq_tup_read), sum(coalesce(idx_scan, 0)), sum(coalesce(idx_tup_fetch, 0)),
                    sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del)]::bigint[] AS counts
            FROM pg_stat_user_tables WHERE schemaname = 'draftline' GROUP BY 1
            """
        )
        return {row["table"]: row["counts"] for row in rows if row["table"] in TABLES}


@pytest.fixture(scope="module")
async def meter(postgres_url: str, template: str) -> AsyncIterator[Meter]:
    with ExitStack() as stack:
        url = stack.enter_context(cloned(postgres_url, template))
        connection = await asyncpg.connect(url)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(pool, "_resetting", _flushing)  # of this server's pool alone
            patched.setattr(order_entries, "INTERVAL_S", None)  # its work at the start is enough
            server = stack.enter_context(serving(url, pool_size=1))
        # What is read is not to go by how long ago it was read before.
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(specs, "READ_AGE_S", 0.0)
        meter = Meter(server, stack.enter_context(grpc.insecure_channel(server.address)), connection)
        server.app.database.observers.append(lambda sql, _: None if sql == FLUSH else meter.seen.append(sql))
        await meter.keep_statistics()
        await eventually(meter.is_quiet)
        yield meter
        await connection.close()


def _flushing(session: dict[str, str], *, is_pooled: bool) -> Callable[[Any], Awaitable[None]]:
    reset = RESETTING(session, is_pooled=is_pooled)

    async def flushed(connection: Any) -> None:
        await reset(connection)
        await connection.execute(FLUSH)

    return flushed


async def costs(
    meter: Meter, asking: Asking, other_has: Callable[[Caller], object], caller_has: Callable[[Caller], object]
) -> tuple[Cost, Cost]:
    """Return the cost of calls if the other tenant has data, and if there is none.

    Background work sends statements of its own now and then, so costs that differ are measured again: what discloses
    data differs each time.
    """
    for _ in range(TRIES - 1):
        there, nowhere = [await _cost(meter, asking, other_has, caller_has, is_there=each) for each in (True, False)]
        if there == nowhere:
            return there, nowhere
    return (
        await _cost(meter, asking, other_has, caller_has, is_there=True),
        await _cost(meter, asking, other_has, caller_has, is_there=False),
    )


async def _cost(
    meter: Meter,
    asking: Asking,
    other_has: Callable[[Caller], object],
    caller_has: Callable[[Caller], object],
    *,
    is_there: bool,
) -> Cost:
    await meter.empty()
    other, caller = meter.tenant(), meter.tenant()
    if is_there:
        other_has(other)
        meter.ask(other, asking(other, other))
    caller_has(caller)
    if caller_has is nothing:
        caller.commits.extend(other.commits)
    return await meter.cost(caller, asking(caller, other))


@pytest.mark.parametrize("mutation", TRIED, ids=str)
async def test_write_costs_the_same(mutation: Mutation, meter: Meter) -> None:
    request_id = str(uuid.uuid4())

    def asking(caller: Caller, _: Caller) -> Asked:
        return [(mutation.method, with_id(mutation.request(caller), request_id))] * 2

    for caller_has in {mutation.prepare, nothing}:
        there, nowhere = await costs(meter, asking, mutation.prepare, caller_has)
        assert there == nowhere


@pytest.mark.parametrize("mutation", PREVIEWS.values(), ids=str)
async def test_preview_costs_the_same(mutation: Mutation, meter: Meter) -> None:
    def asking(caller: Caller, _: Caller) -> Asked:
        request = with_id(mutation.request(caller), "")
        request.validate_only = True
        return [(mutation.method, request)]

    for caller_has in {mutation.prepare, nothing}:
        there, nowhere = await costs(meter, asking, mutation.prepare, caller_has)
        assert there == nowhere


def streamed(caller: Caller, _: Caller) -> Asked:
    """Writes of a stream, one in each, twice: they reach PostgreSQL in their order."""
    patch = caller.records.patching("a", {"n": 2}, request_id=str(uuid.UUID(int=1, version=4)))
    create = caller.records.creation("new", {"n": 1}, request_id=str(uuid.UUID(int=2, version=4)))
    delete = content_pb2.DeleteContentRequest(**caller.records.ids("a"), expected_version=2)
    items: list[dict[str, Any]] = [{"patch": patch}, {"create": create}, {"delete": delete}]
    return [("StreamPatches", [content_pb2.StreamPatchesRequest(items=[item])]) for item in items * 2]


@pytest.mark.parametrize("state", TRIED_STATES)
async def test_streamed_write_costs_the_same(state: str, meter: Meter) -> None:
    for caller_has in {STATES[state], nothing}:
        there, nowhere = await costs(meter, streamed, STATES[state], caller_has)
        assert there == nowhere


@pytest.mark.parametrize("state", TRIED_STATES)
async def test_read_costs_the_same(state: str, meter: Meter) -> None:
    for caller_has in {STATES[state], nothing}:
        there, nowhere = await costs(meter, reads, STATES[state], caller_has)
        assert there == nowhere


def reads(caller: Caller, _: Caller) -> Asked:
    """Return reads of everything that has an id or can be searched for."""
    drafts, changes = caller.drafts, Changes(caller.channel, caller.tenant_id)
    commit_id = [*caller.commits, str(uuid.UUID(int=0))][0]
    ids: Any = caller.records.ids
    collection = {"tenant_id": caller.tenant_id, "collection": "films"}
    queries: list[dict[str, Any]] = [
        {},
        {"filter": "n = 1", "order_by": "n desc", "include_total_size": True},
        {"filter": 'record.state = DRAFT AND t = "mine"', "show_deleted": True},
        {"record_ids": ["a", "new", "nobody's"]},
        {"session_id": "s"},
        {"view": draft_pb2.VIEW_DRAFTS_ONLY},
        {"view": draft_pb2.VIEW_BASELINE, "order_by": "record.version"},
    ]
    of_log: list[dict[str, Any]] = [
        {"order_by": "create_time"},
        {"collection": "films", "record_id": "a"},
        {"filter": f'commit_id = "{commit_id}"'},
        {"filter": "kind = DELETE AND record_id = b"},
    ]
    return [
        *[("GetContent", content_pb2.GetContentRequest(**ids(each), show_deleted=True)) for each in ("a", "new", "x")],
        (
            "BatchGetContent",
            content_pb2.BatchGetContentRequest(**collection, record_ids=["a", "new", "x"], allow_missing=True),
        ),
        *[("GetMerged", drafts.listing(**query)) for query in queries],
        ("ListDraftUsers", draft_pb2.ListDraftUsersRequest(tenant_id=caller.tenant_id)),
        ("ListDraftUsers", draft_pb2.ListDraftUsersRequest(**collection, page_size=1)),
        ("StreamMerged", draft_pb2.StreamMergedRequest(**collection, order_by="n")),
        ("GetCollection", collection_pb2.GetCollectionRequest(**collection)),
        (
            "GetStatistics",
            draft_pb2.GetStatisticsRequest(
                **collection, measures=[{"function": draft_pb2.STATISTIC_FUNCTION_COUNT}], allow_scan=True
            ),
        ),
        ("ListCollections", collection_pb2.ListCollectionsRequest(tenant_id=caller.tenant_id)),
        *[("ListChanges", changes.listing(**query)) for query in of_log],
        ("WatchChanges", change_pb2.WatchChangesRequest(tenant_id=caller.tenant_id)),
        ("WatchChanges", change_pb2.WatchChangesRequest(**collection, view=change_pb2.WATCH_VIEW_MERGED)),
        ("GetSync", sync_pb2.GetSyncRequest(tenant_id=caller.tenant_id, upstream="toy")),
        ("ListSyncs", sync_pb2.ListSyncsRequest(tenant_id=caller.tenant_id)),
        ("GetSyncStatus", sync_pb2.GetSyncStatusRequest(tenant_id=caller.tenant_id, upstream="toy")),
        ("GetSyncStatus", sync_pb2.GetSyncStatusRequest(tenant_id=caller.tenant_id, commit_id=commit_id)),
        ("ListSyncRecords", sync_pb2.ListSyncRecordsRequest(**collection)),
        ("ListSyncEvents", sync_pb2.ListSyncEventsRequest(tenant_id=caller.tenant_id, upstream="toy")),
        (
            "ResolveSync",
            sync_pb2.ResolveSyncRequest(**ids("a"), decisions=[{"path": "/n", "side": draft_pb2.SIDE_MINE}]),
        ),
    ]


def test_every_rpc_is_tried(meter: Meter) -> None:
    nobody = meter.tenant()
    asked = [*reads(nobody, nobody), *streamed(nobody, nobody)]
    tried = {each.method for each in MUTATIONS} | {method for method, _ in asked}
    assert tried == {method.name for method in METHODS} - OPERATOR_METHODS


async def test_token_of_another_tenant_costs_what_a_made_up_one_does(meter: Meter) -> None:
    def other_has(other: Caller) -> None:
        STATES["two"](other)
        replace(other.records, collection="games").create("a", {})

    def asking(caller: Caller, other: Caller) -> Asked:
        """With tokens that the other was given, if it has what they are given for."""
        asked: list[tuple[str, Request]] = [
            ("GetMerged", caller.drafts.listing(page_size=1)),
            ("ListChanges", Changes(caller.channel, caller.tenant_id).listing(page_size=1)),
            ("ListCollections", collection_pb2.ListCollectionsRequest(tenant_id=caller.tenant_id, page_size=1)),
        ]
        for method, request in asked:
            of_other = type(request)()
            of_other.CopyFrom(request)
            of_other.tenant_id = other.tenant_id
            request.page_token = other.send(method, of_other).next_page_token or "made-up"
        stream = draft_pb2.StreamMergedRequest(**caller.drafts.where, page_token=asked[0][1].page_token)
        watch = change_pb2.WatchChangesRequest(tenant_id=caller.tenant_id)
        watch.resume_token = meter.watch(other, change_pb2.WatchChangesRequest(tenant_id=other.tenant_id))
        return [*asked, ("StreamMerged", stream), ("WatchChanges", watch)]

    there, nowhere = await costs(meter, asking, other_has, nothing)
    assert there == nowhere
    assert set(there.outcomes) == {"INVALID_FIELD"}


KINDS: dict[str, Callable[[Caller, str], Request]] = {
    "GetContent": lambda caller, name: content_pb2.GetContentRequest(**caller.records.ids(name)),
    "PatchContent": lambda caller, name: caller.records.patching(name, {"n": 2}),
    "GetMerged": lambda caller, name: caller.drafts.listing(record_ids=[name]),
    "Commit": lambda caller, name: caller.drafts.committing(record_ids=[name]),
}


@pytest.mark.parametrize("method", KINDS)
def test_time_of_an_answer_is_told(method: str, server: RunningServer, report: Callable[[str], None]) -> None:
    """Report the latency of a call on a drafted record that another tenant has, and that does not exist."""
    with grpc.insecure_channel(server.address) as channel:
        caller, other = (Caller(channel, f"tenant-{uuid.uuid4().hex[:12]}") for _ in range(2))
        STATES["drafted"](other)
        times_s: dict[str, list[float]] = {"a": [], "nobodys": []}
        for name in random.Random(method).sample([*times_s] * CALLS, 2 * CALLS):
            request = KINDS[method](caller, name)
            began = time.perf_counter()
            with suppress(grpc.RpcError):
                caller.send(method, request)
            times_s[name].append(time.perf_counter() - began)
    medians = [f"{1e3 * statistics.median(each):.3f} ms" for each in times_s.values()]
    report(
        f"{method} of a record that another tenant has {medians[0]}, that nobody has {medians[1]}; "
        f"by chance as far apart {chance(*times_s.values()):.0%} of the time ({CALLS} calls of each)"
    )


def chance(one: list[float], other: list[float]) -> float:
    """Return the p-value of a permutation test on the difference of the medians of two samples."""
    everything, draw = one + other, random.Random(0)

    def apart() -> float:
        return abs(statistics.median(everything[: len(one)]) - statistics.median(everything[len(one) :]))

    found, as_far = apart(), 0
    for _ in range(SHUFFLES):
        draw.shuffle(everything)
        as_far += apart() >= found
    return as_far / SHUFFLES
