"""Patches in groups answer and leave what they would one at a time, and no call hangs, whatever becomes of a group."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest
from draftline_server.domain.content import equal
from draftline_server.domain.edits import Operation, Strategy
from draftline_server.domain.errors import ContentionError, DatabaseUnavailableError, DraftlineError
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.records import Delta, Operations, Patch
from draftline_server.store.database import Database
from draftline_server.store.in_place_patches import PatchEntry
from draftline_server.store.pool_settings import PoolSettings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.batched_patches import CONDITIONS, Grouped, counting
from support.edit_strategies import changes, contents
from support.soak_scale import examples

IDS = ("1", "2", "😀")


@pytest.fixture
def grouped(database: Database) -> Grouped:
    return Grouped(database)


@st.composite
def patches(draw: st.DrawFn) -> Patch:
    condition = draw(st.none() | st.none() | st.sampled_from(CONDITIONS))
    return Patch(
        "films",
        draw(st.sampled_from(IDS)),
        change=draw(st.none() | changes(draw(contents)) | changes(draw(contents))),
        expected_version=draw(st.none() | st.none() | st.integers(0, 4)),
        condition=None if condition is None else parse_filter(condition),
        allow_missing=draw(st.sampled_from([True, True, False])),
        parent_id=draw(st.none() | st.none() | st.sampled_from(["p", ""])),
        position=draw(st.none() | st.none() | st.integers(-3, 3)),
    )


@settings(
    max_examples=examples(40),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(sent=st.lists(patches(), min_size=2, max_size=24))
async def test_groups_answer_and_leave_what_one_at_a_time_does(database: Database, sent: list[Patch]) -> None:
    together, alone = Grouped(database), Grouped(database)
    answers = await asyncio.gather(*(together.told(patch) for patch in sent))
    expected = [await alone.told(patch) for patch in sent]
    assert equal(list(answers), expected), (answers, expected)
    assert equal(await together.stored(), await alone.stored())


async def test_groups_grow_under_load_and_a_lone_call_has_its_own(grouped: Grouped) -> None:
    await grouped.patch(counting("0"))
    assert grouped.applier.groups == [["0"]]
    await asyncio.gather(*(grouped.patch(counting(str(place))) for place in range(100)))
    assert len(grouped.applier.groups) < 10
    assert max(map(len, grouped.applier.groups)) == 64
    assert all(len(set(group)) == len(group) for group in grouped.applier.groups)


async def test_patches_of_one_record_keep_their_order(grouped: Grouped) -> None:
    def appending(place: int) -> Patch:
        return Patch("films", "1", Operations([Operation("union", ("seen",), value=[place])]), allow_missing=True)

    results = await asyncio.gather(*(grouped.patch(appending(place)) for place in range(50)))
    assert [result.record.version for result in results if result.record] == list(range(1, 51))
    assert (await grouped.stored())[0]["content"] == {"seen": list(range(50))}


async def test_statement_that_fails_takes_no_neighbour_with_it(grouped: Grouped) -> None:
    async def poison(entries: Sequence[PatchEntry]) -> None:
        if any(entry.patch.record_id == "7" for entry in entries):
            raise ContentionError("no luck")

    await grouped.patch(counting("first"))
    grouped.applier.before = poison
    results = await asyncio.gather(
        *(grouped.patch(counting(str(place))) for place in range(20)), return_exceptions=True
    )
    assert [place for place, result in enumerate(results) if isinstance(result, BaseException)] == [7]
    assert isinstance(results[7], ContentionError)
    assert {row["record_id"] for row in await grouped.stored()} == {"first", *map(str, range(20))} - {"7"}


async def test_lost_connection_is_told_to_every_call_of_the_group(grouped: Grouped) -> None:
    async def lose(_: Sequence[PatchEntry]) -> None:
        raise DatabaseUnavailableError("gone")

    grouped.applier.before = lose
    results = await asyncio.gather(
        *(grouped.patch(counting(str(place))) for place in range(200)), return_exceptions=True
    )
    assert all(isinstance(result, DatabaseUnavailableError) for result in results)
    grouped.applier.before = None
    assert (await grouped.patch(counting("1"))).record is not None


async def test_call_that_is_cancelled_before_its_turn_is_not_applied(grouped: Grouped) -> None:
    gate = asyncio.Event()

    async def wait(_: Sequence[PatchEntry]) -> None:
        await gate.wait()

    grouped.applier.before = wait
    calls = [asyncio.create_task(grouped.patch(counting("1"))) for _ in range(5)]
    others = [asyncio.create_task(grouped.patch(counting("2"))) for _ in range(2)]
    await asyncio.sleep(0.001)
    for call in calls[1:4]:
        call.cancel()
    gate.set()
    results = await asyncio.gather(*calls, *others, return_exceptions=True)
    cancelled = [place for place, result in enumerate(results) if isinstance(result, asyncio.CancelledError)]
    assert cancelled == [1, 2, 3]
    assert [await grouped.number("1"), await grouped.number("2")] == [2, 2]


async def test_call_that_is_cancelled_in_its_group_leaves_the_group_alone(grouped: Grouped) -> None:
    entered = asyncio.Event()

    async def enter(_: Sequence[PatchEntry]) -> None:
        entered.set()
        await asyncio.sleep(0)

    grouped.applier.before = enter
    lone = asyncio.create_task(grouped.patch(counting("lone")))
    await entered.wait()
    entered.clear()
    first, *rest = [asyncio.create_task(grouped.patch(counting(str(place)))) for place in range(10)]
    await lone
    await entered.wait()
    first.cancel()
    results = await asyncio.gather(*rest)
    assert all(result.record is not None for result in results)
    assert grouped.applier.groups == [["lone"], [str(place) for place in range(10)]]
    assert [await grouped.number(str(place)) for place in range(10)] == [1] * 10


async def test_record_that_is_locked_holds_up_no_other(grouped: Grouped, database: Database) -> None:
    await grouped.patch(counting("locked"))
    connection = await asyncpg.connect(database.url)
    await connection.execute("BEGIN")
    await connection.execute(
        "SELECT FROM draftline.record WHERE tenant_id = $1 AND record_id = 'locked' FOR UPDATE", grouped.actor.tenant_id
    )
    stuck = asyncio.create_task(grouped.patch(counting("locked")))
    async with asyncio.timeout(20):
        for turn in range(5):
            await asyncio.gather(*(grouped.patch(counting(f"{turn}-{place}")) for place in range(20)))
    assert not stuck.done()
    await connection.execute("ROLLBACK")
    assert (await stuck).record is not None
    await connection.close()


async def test_full_pool_hangs_nobody(database_url: str) -> None:
    database = Database(database_url, PoolSettings(size=1, connect_timeout_s=0.2))
    await database.open()
    grouped = Grouped(database)
    async with database.transaction():
        results = await asyncio.gather(
            *(grouped.patch(counting(str(place))) for place in range(100)), return_exceptions=True
        )
        assert all(isinstance(result, DraftlineError) for result in results)
    assert (await grouped.patch(Patch("films", "1", Delta("{}", Strategy.SHALLOW), allow_missing=True))).record
    await database.close()
