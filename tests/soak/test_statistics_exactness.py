"""Statistics stay exact while every kind of write, declarations, folds and repairs run at once."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest
from draftline import (
    AsyncClient,
    DeclaredStatistic,
    DraftEdit,
    DraftlineError,
    Patch,
    op,
)
from draftline_server.domain.errors import DraftlineError as DomainError
from draftline_server.domain.filters.ast import FieldType
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.filters.type_resolution import with_types
from draftline_server.domain.statistics import Function, Grain, Measure, StatisticsQuery
from draftline_server.store.collections.order_entries import OrderEntries
from draftline_server.store.collections.statistic_specs import from_json
from draftline_server.store.collections.tallies import Tallies
from draftline_server.store.database import Database
from draftline_server.store.driver_errors import RacedError
from draftline_server.store.statements import load
from draftline_server.store.statistics.needs import needs_of
from draftline_server.store.statistics.query import statistics_statement
from draftline_server.store.statistics.store import scan_values
from support.held_writes import HELD, HeldWrites
from support.polling import eventually
from support.servers import cloned, serving
from support.soak_scale import IS_SOAK, length
from support.sync_worlds import SyncWorld, answer
from support.tenant_stores import connected

CALLERS = length("STATISTICS_CALLERS", 8, soak=24)
SOAK_S = length("STATISTICS_S", 2.0, soak=60.0)
MUTATION_S = 2.0  # as the short form
USERS = 4
DECLARER = "operator"
CHECKED = [*(f"u{number}" for number in range(USERS)), "without-drafts", DECLARER]
IDS = [f"r-{number:02}" for number in range(40)]
HOT = IDS[:2]
# The first action of each caller, in turn; then its share of all.
FIRST = ["hot_discard", "hot", "commit", "save", "load", "snapshot", "hot_discard"]
TENANT, COLLECTION = "acme", "films"
FIELDS = {"/Genre": "text", "/Gross": "number", "/Day": "date", "/Votes": "number"}
STATISTICS = [
    DeclaredStatistic("genre", ("/Genre",), ("/Gross", "/Votes")),
    DeclaredStatistic("day", ("/Day", "/Genre"), ("/Gross",)),
    DeclaredStatistic("year", ("year(/Day)",)),
    DeclaredStatistic("votes", ("/Genre",), ("/Gross",), range_by="/Votes"),
]
TYPES = {
    ("Genre",): FieldType.TEXT, ("Gross",): FieldType.NUMBER, ("Votes",): FieldType.NUMBER, ("Day",): FieldType.DATE,
}  # fmt: skip
COUNT, GROSS = Measure(Function.COUNT), Measure(Function.SUM, ("Gross",))
QUERIES = [
    StatisticsQuery(COLLECTION, ((("Genre",), Grain.VALUE),), (COUNT, GROSS, Measure(Function.SUM, ("Votes",)))),
    StatisticsQuery(COLLECTION, ((("Day",), Grain.MONTH), (("Genre",), Grain.VALUE)), (COUNT, GROSS)),
    StatisticsQuery(COLLECTION, ((("Day",), Grain.YEAR),), (COUNT,)),
    StatisticsQuery(COLLECTION, ((("Genre",), Grain.VALUE),), (COUNT, GROSS), parse_filter("Votes > 2 AND Votes < 7")),
]
SQL = load("statistics")


class Caller:
    """Makes one random call after another."""

    def __init__(self, client: AsyncClient, seed: int, storing: asyncio.Lock) -> None:
        self._client = client
        self._storing = storing
        self._random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self._actions: dict[Callable[[], Any], int] = {
            self.create: 3, self.patch: 6, self.hot: 8, self.upsert: 3, self.preview: 2, self.batch: 3, self.stream: 2,
            self.load: 2, self.snapshot: 1, self.delete: 3, self.undelete: 3, self.purge: 1, self.save: 8,
            self.save_many: 2, self.discard: 2, self.discard_some: 2, self.commit: 4, self.preview_commit: 1,
            self.revert: 2, self.hot_discard: 4, self.discard_of_other: 1,
        }  # fmt: skip
        self.names = [action.__name__ for action in self._actions]
        self._first = [FIRST[seed % len(FIRST)], *self.names[seed % CALLERS :: CALLERS]]

    async def work(self, until: float) -> None:
        while self._first or time.monotonic() < until:
            action = self._random.choices(list(self._actions), list(self._actions.values()))[0]
            if self._first:
                action = getattr(self, self._first.pop(0))
            name: str = action.__name__
            try:
                await action()
                self.done[name] += 1
            except DraftlineError as error:
                self.done[f"{name} {error.reason}"] += 1

    def content(self) -> dict[str, Any]:
        dice = self._random
        values: dict[str, Any] = {
            "Genre": dice.choice(["Drama", "Comedy", "", "ü" * 9, 5, None]),
            "Gross": dice.choice([0, -1, 2.5, 10**30, Decimal("0.1"), "7", None]),
            "Day": dice.choice(["2026-01-02", "2026-02-03", "1999-12-31", "no day", None]),
            "Votes": dice.randrange(9),
            "other": dice.randrange(9),
        }
        return {name: value for name, value in values.items() if dice.random() < 0.6}

    def one(self) -> str:
        return self._random.choice(IDS)

    def some(self) -> list[str]:
        return self._random.sample(IDS, self._random.randint(1, 8))

    async def create(self) -> None:
        await self._client.create_content(COLLECTION, self.content(), record_id=self.one())

    async def patch(self) -> None:
        strategy = self._random.choice(["shallow", "deep", "merge_patch", "replace"])
        await self._client.patch_content(COLLECTION, self.one(), self.content(), strategy=strategy)

    async def hot(self) -> None:
        """Patch one record several times at once, so that a statement folds the patches."""
        record_id, client = self._random.choice(HOT), self._client
        deltas = [self.content() for _ in range(4)]
        await client.patch_content(COLLECTION, record_id, {"Genre": "Drama"}, allow_missing=True, allow_deleted=True)
        await asyncio.gather(
            *(client.patch_content(COLLECTION, record_id, delta) for delta in deltas),
            client.patch_content(COLLECTION, record_id, operations=[op.increment("/Votes", 1)]),
            return_exceptions=True,
        )

    async def hot_discard(self) -> None:
        """Discard drafts of a record while others patch it."""
        record_id, client = self._random.choice(HOT), self._client
        await client.patch_content(COLLECTION, record_id, {"Genre": "Drama"}, allow_missing=True, allow_deleted=True)
        for _ in range(3):
            await client.save_draft(COLLECTION, record_id, {"Votes": 5}, session_id="s", move_to_session=True)
            patches = [client.patch_content(COLLECTION, record_id, self.content()) for _ in range(3)]
            await asyncio.gather(*patches, client.discard(COLLECTION, session_id="s"), return_exceptions=True)

    async def upsert(self) -> None:
        await self._client.patch_content(COLLECTION, self.one(), self.content(), allow_missing=True, allow_deleted=True)

    async def preview(self) -> None:
        await self._client.patch_content(COLLECTION, self.one(), self.content(), validate_only=True)

    async def batch(self) -> None:
        patches = [Patch(each, self.content(), allow_missing=True) for each in self.some()]
        await self._client.batch_patch_content(COLLECTION, patches, allow_partial=self._random.random() < 0.7)

    async def stream(self) -> None:
        async with self._client.bulk_writer(on_error=lambda *_: None) as writer:
            for each in self.some():
                await writer.patch(COLLECTION, each, self.content())
            await writer.create(COLLECTION, self.content(), record_id=self.one())
            await writer.delete(COLLECTION, self.one())

    async def load(self) -> None:
        await self._client.import_content(COLLECTION, [(each, self.content()) for each in self.some()])

    async def snapshot(self) -> None:
        kept = [*self._random.sample(IDS, 30), *HELD]
        async with self._storing:
            await self._client.import_content(COLLECTION, [(each, self.content()) for each in kept], mode="snapshot")

    async def delete(self) -> None:
        await self._client.delete_content(COLLECTION, self.one())

    async def undelete(self) -> None:
        await self._client.undelete_content(COLLECTION, self.one())

    async def purge(self) -> None:
        record_id = self.one()
        await self._client.delete_content(COLLECTION, record_id, allow_missing=True)
        await self._client.purge_content(COLLECTION, [record_id])

    def edit(self, record_id: str) -> DraftEdit:
        kind = self._random.randrange(6)
        if kind == 0:
            return DraftEdit(record_id, create=self.content(), allow_deleted=self._random.random() < 0.5)
        if kind == 1:
            return DraftEdit(record_id, delete=True)
        if kind == 2:
            return DraftEdit(record_id, operations=[op.increment("/Votes", 1)])
        return DraftEdit(record_id, self.content(), replace=kind == 3, allow_deleted=kind == 4)

    async def save(self) -> None:
        await self._client.save_drafts(COLLECTION, [self.edit(self.one())], session_id=self._random.choice(["", "s"]),
                                       move_to_session=True)  # fmt: skip

    async def save_many(self) -> None:
        await self._client.save_drafts(
            COLLECTION, [self.edit(each) for each in self.some()], allow_partial=True, move_to_session=True
        )

    async def discard(self) -> None:
        await self._client.discard(COLLECTION, all=True)

    async def discard_some(self) -> None:
        await self._client.discard(COLLECTION, session_id="s")

    async def discard_of_other(self) -> None:
        """Discard drafts of another user, as an administrator does."""
        await self._client.discard(COLLECTION, all=True, draft_user=f"u{self._random.randrange(USERS)}")

    async def commit(self) -> None:
        policy = self._random.choice(["reject", "keep_mine", "keep_theirs"])
        await self._client.commit(
            COLLECTION, all=True, conflict_policy=policy, allow_partial=self._random.random() < 0.7
        )

    async def preview_commit(self) -> None:
        await self._client.commit(
            COLLECTION, all=True, conflict_policy="keep_mine", validate_only=True, allow_partial=True
        )

    async def revert(self) -> None:
        changes = [each async for each in self._client.changes(COLLECTION, self.one(), page_size=3)]
        if changes:
            await self._client.revert(self._random.choice(changes), conflict_policy="keep_theirs", allow_partial=True)


@dataclass
class Checker:
    """Compares answers with live aggregates of the same snapshot, and tallies with what they count."""

    url: str
    answers: int = 0
    groups: int = 0  # of these answers
    wrong: list[Any] = field(default_factory=list)

    async def check(self) -> None:
        """Check the answers of every user in one snapshot."""
        connection = await asyncpg.connect(self.url, statement_cache_size=0)
        try:
            async with connection.transaction(isolation="repeatable_read"):
                values: dict[str, Any] = {"tenant_id": TENANT, "collections": [COLLECTION], "limit": 10}
                for row in await connection.fetch(SQL["get_statistics"].sql, *SQL["get_statistics"].arguments(values)):
                    if row["state"] == "READY":
                        await self._check_one(connection, row, values)
        finally:
            await connection.close()

    async def _check_one(self, connection: asyncpg.Connection, row: Any, values: dict[str, Any]) -> None:
        values = {**values, "collection": COLLECTION, "statistic_id": row["statistic_id"]}
        check = SQL["check_statistic"]
        self.wrong += [(row["name"], *each) for each in await connection.fetch(check.sql, *check.arguments(values))]
        spec = from_json(json.loads(row["spec"]))
        for query in QUERIES:
            condition = with_types(query.filter, TYPES, {}) if query.filter is not None else None
            needs = needs_of(query, condition, TYPES)
            if not needs.covered_by(spec):
                continue
            least = needs.spec()
            for user in CHECKED:
                found = []
                for statistic, source in ((spec, "tally_rows"), (least, "scanned_rows")):
                    statement, fixed = statistics_statement(query, condition, statistic, needs.groups, source)
                    own = {**fixed, **values, "user_id": user, **(scan_values(least) if statistic is least else {})}
                    rows = await connection.fetch(statement.sql, *statement.arguments(own))
                    found.append([tuple(each.values()) for each in rows])
                self.answers += 1
                self.groups += rows[0]["size"]
                if found[0] != found[1]:
                    self.wrong.append((row["name"], user, query, found))


async def run(url: str, seconds: float) -> tuple[Checker, Counter[str]]:
    """Write, declare, fold and check at once for some time. Return the checker, and the number of calls by name."""
    checker, storing = Checker(url), asyncio.Lock()
    with servers(url) as addresses:
        async with callers(addresses, storing) as working, connected(url) as database:
            declarers = [AsyncClient(each, tenant_id=TENANT, user=DECLARER, timeout=120) for each in addresses]
            held = HeldWrites(database, declarers, TENANT, COLLECTION, storing)
            until = time.monotonic() + seconds
            writes = asyncio.gather(*(each.work(until) for each in working))
            keeping = asyncio.create_task(keep(declarers[0], held, database, checker, until))
            imported = asyncio.create_task(eventually(lambda: any("snapshot" in str(each.done) for each in working)))
            syncing = asyncio.create_task(sync(database, imported, until - seconds / 2, until))
            while not (writes.done() and keeping.done() and syncing.done()):
                await checker.check()
            await asyncio.gather(writes, keeping)
            await checker.check()
            await compare_with_lists(addresses[0], checker)
            await asyncio.gather(*(each.close() for each in declarers))
        done = sum((each.done for each in working), await syncing)
    assert {name.split()[0] for name in done} >= {*working[0].names, "sync"}
    return checker, done


async def test_answers_equal_a_live_aggregate_of_the_same_snapshot_during_all_kinds_of_writes(
    postgres_url: str, template: str, report: Callable[[str], None]
) -> None:
    with cloned(postgres_url, template) as url:
        checker, done = await run(url, SOAK_S)
    compared = f"{checker.answers} answers with {checker.groups} groups"
    report(f"{compared} compared, {len(checker.wrong)} wrong, during {done.total()} calls: {dict(done)}")
    assert checker.wrong == []
    assert checker.answers > 20
    assert checker.groups > checker.answers


async def no_wait(*_: object, **__: object) -> None:
    """Return at once in place of a wait for writes."""


def build_without_waiting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OrderEntries, "wait_for_inflight_writes", no_wait)


def build_in_background_without_waiting(patch: pytest.MonkeyPatch) -> None:
    """Let only the builds of statistics not wait: PutCollection waits before its own."""
    entries = SimpleNamespace(wait_for_inflight_writes=no_wait)
    build = Tallies._build_all

    async def hasty(self: Tallies, *arguments: Any) -> None:
        hurried = Tallies(self._database, cast("OrderEntries", entries), max_groups=self._max_groups)
        await build(hurried, *arguments)

    patch.setattr(Tallies, "_build_all", hasty)


def discard_without_lock(patch: pytest.MonkeyPatch) -> None:
    statement = load("drafts")["drop_drafts"]
    assert statement.sql.count("FOR SHARE") == 1
    patch.setitem(load("drafts"), "drop_drafts", replace(statement, sql=statement.sql.replace("FOR SHARE", "")))


@pytest.mark.skipif(not IS_SOAK, reason="runs in `make soak`")
@pytest.mark.parametrize(
    "mutate",
    [build_without_waiting, build_in_background_without_waiting, discard_without_lock],
    ids=lambda it: it.__name__,
)
async def test_missing_protection_makes_answers_wrong(
    postgres_url: str,
    template: str,
    monkeypatch: pytest.MonkeyPatch,
    report: Callable[[str], None],
    mutate: Callable[[pytest.MonkeyPatch], None],
) -> None:
    """The test above would notice if a lock or a wait were missing."""
    mutate(monkeypatch)
    with cloned(postgres_url, template) as url:
        checker, done = await run(url, MUTATION_S)
    report(f"{mutate.__name__}: {len(checker.wrong)} wrong of {checker.answers} answers during {done.total()} calls")
    assert checker.wrong


@contextmanager
def servers(url: str) -> Iterator[list[str]]:
    """Serve the database by a server that patches in place, and by one that replaces contents."""
    with (
        serving(url, pool_size=CALLERS + 6, lock_timeout_s=60) as in_place,
        serving(url, pool_size=CALLERS + 6, lock_timeout_s=60, enable_partial_updates=False) as replacing,
    ):
        yield [in_place.address, replacing.address]


@asynccontextmanager
async def callers(addresses: list[str], storing: asyncio.Lock) -> AsyncIterator[list[Caller]]:
    clients = [
        AsyncClient(addresses[number % 3 == 2], tenant_id=TENANT, user=f"u{number % USERS}", timeout=120)
        for number in range(CALLERS)
    ]
    try:
        yield [Caller(client, number, storing) for number, client in enumerate(clients)]
    finally:
        await asyncio.gather(*(client.close() for client in clients))


async def statistics_of(database: Database) -> list[Any]:
    values: dict[str, object] = {"tenant_id": TENANT, "collections": [COLLECTION]}
    return list(await database.fetch(SQL["get_statistics"], values))


async def keep(client: AsyncClient, held: HeldWrites, database: Database, checker: Checker, until: float) -> None:
    """Declare statistics and drop them, and fold, repair and rebuild their tallies."""
    tallies, dice = Tallies(database, OrderEntries(database)), random.Random(1)
    while True:
        async with held.during():
            await client.put_collection(COLLECTION, fields=FIELDS, statistics=STATISTICS)
        await held.discard()
        await checker.check()  # before a repair
        for _ in range(4):
            for statistic_id in [row["statistic_id"] for row in await statistics_of(database)]:
                work = tallies.fold if dice.random() < 0.8 else tallies.repair
                await work(TENANT, COLLECTION, statistic_id)
            await asyncio.sleep(dice.random() / 10)
        if time.monotonic() > until:
            return
        await client.put_collection(COLLECTION, fields=FIELDS, statistics=[])


async def sync(database: Database, imported: asyncio.Task[Any], start: float, until: float) -> Counter[str]:
    """Merge random answers of an upstream into the records after an import. From then on, imports are refused."""
    await imported
    await asyncio.sleep(max(0.0, start - time.monotonic()))
    world, dice, done, version = SyncWorld(database, TENANT), random.Random(2), Counter[str](), 0
    await world.bind()
    while not done or time.monotonic() < until:
        await asyncio.sleep(dice.random() / 10)
        answers = []
        for record_id in dice.sample(IDS, 6):
            version += 1
            film = {"Genre": dice.choice(["Drama", "Horror"]), "Votes": dice.randrange(9), "Gross": dice.randrange(99)}
            answers.append(answer(record_id, film if dice.random() < 0.8 else None, version, record_id))
        try:
            await world.merge(*answers)
            done["sync"] += 1
        except (DomainError, RacedError) as error:
            done[f"sync {type(error).__name__}"] += 1
    return done


async def compare_with_lists(address: str, checker: Checker) -> None:
    """Compare the answers of every user with sums over the records of their lists, after all writes."""
    for user in CHECKED:
        async with AsyncClient(address, tenant_id=TENANT, user=user, timeout=120) as client:
            found = await client.statistics(COLLECTION, measures=["count", "sum(/Gross)"], group_by=["/Genre"])
            for view in ("baseline", "merged"):
                wanted: dict[Any, list[Fraction]] = {}
                async for record in client.get_merged(COLLECTION, view=view):
                    genre, gross = (record.content.get(name) for name in ("Genre", "Gross"))
                    is_number = isinstance(gross, int | float | Decimal)
                    key = genre if isinstance(genre, str) else None
                    group = wanted.setdefault(key, [Fraction(0), Fraction(0)])
                    group[0] += 1
                    group[1] += Fraction(str(gross)) if is_number else 0
                sides = {
                    group.keys["/Genre"]: [Fraction(str(value)) for value in getattr(group, view).values()]
                    for group in found.groups
                }
                checker.answers += 1
                if {key: value for key, value in sides.items() if value[0]} != wanted:
                    checker.wrong.append((user, view, sides, wanted))
