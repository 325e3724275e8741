"""Answers of statistics compared with the merged list of the same contents."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from fractions import Fraction
from typing import Any

import asyncpg
import pytest
from draftline_server.domain.errors import (
    DeadlineExceededError,
    InvalidFieldError,
    InvalidFilterError,
    StatisticNotReadyError,
)
from draftline_server.domain.filters.ast import FieldType
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.merged import MergedQuery, View
from draftline_server.domain.statistics import (
    Function,
    Grain,
    GroupCondition,
    GroupOrder,
    KeyType,
    Measure,
    Side,
    StatisticsQuery,
    StatisticsResult,
)
from draftline_server.store.database import Database
from draftline_server.store.statistics.store import StatisticsStore
from support.filter_oracle import satisfies
from support.servers import cloned
from support.statistics_oracle import Group, grouped, groups_of, read, value_of
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, World, change, connected, creation, deletion

from .test_order_entries import USERS, random_writes
from .test_tallies import declared, statistics, tallies_of, tally_rows

EA, EN, DAY = ("ea",), ("en",), ("o", "ed")
TYPES = {EA: FieldType.TEXT, EN: FieldType.NUMBER, DAY: FieldType.DATE}
GRAINS = {Grain.VALUE: KeyType.DATE, Grain.DAY: KeyType.DATE, Grain.MONTH: KeyType.MONTH, Grain.YEAR: KeyType.YEAR}
COUNT, SUM = Measure(Function.COUNT), Measure(Function.SUM, EN)
QUERIES = [
    StatisticsQuery(
        COLLECTION, ((EA, Grain.VALUE),), (COUNT, SUM, Measure(Function.AVG, EN), Measure(Function.COUNT, EN))
    ),
    StatisticsQuery(COLLECTION, (), (COUNT, SUM, Measure(Function.COUNT, EA))),
    StatisticsQuery(COLLECTION, ((DAY, Grain.MONTH),), (COUNT, SUM)),
    StatisticsQuery(COLLECTION, ((DAY, Grain.DAY), (EA, Grain.VALUE)), (SUM,), parse_filter('ea = "x" OR ea > "y"')),
    StatisticsQuery(COLLECTION, ((DAY, Grain.YEAR),), (COUNT,), parse_filter("NOT o.ed < 2026-01-01")),
    StatisticsQuery(COLLECTION, (), (COUNT,), parse_filter("o.ed >= 2026-01-02 AND NOT ea = \"y*\"")),
    StatisticsQuery(
        COLLECTION, ((DAY, Grain.YEAR),),
        (Measure(Function.MIN, EN), Measure(Function.MAX, EN), Measure(Function.COUNT_DISTINCT, EN), SUM),
        parse_filter("en != 1.5"),
    ),
    StatisticsQuery(COLLECTION, ((EN, Grain.VALUE),), (COUNT, Measure(Function.AVG, EN)), parse_filter("en <= 7")),
    StatisticsQuery(
        COLLECTION, ((EA, Grain.VALUE),),
        (Measure(Function.MIN, DAY), Measure(Function.MAX, DAY), Measure(Function.COUNT_DISTINCT, DAY)),
    ),
    StatisticsQuery(COLLECTION, ((EA, Grain.VALUE),), (COUNT, SUM), parse_filter("en >= -1 AND en < 1.5")),
    StatisticsQuery(COLLECTION, (), (COUNT, SUM), parse_filter('NOT (en > 1 AND en <= 7) OR ea = "x"')),
    StatisticsQuery(COLLECTION, (), (SUM, COUNT), parse_filter("o.ed > 2026-01-01 AND o.ed != 2026-01-03")),
]  # fmt: skip


async def answer(world: World, user: str, query: StatisticsQuery, *, scan: bool = False) -> StatisticsResult:
    store = StatisticsStore(world.database, world.specs)
    return await store.query(world.actor(user), StatisticsQuery(**{**_fields(query), "allow_scan": scan}))


def _fields(query: StatisticsQuery) -> dict[str, Any]:
    return {name: getattr(query, name) for name in query.__slots__}


async def contents(world: World, user: str, view: View) -> list[dict[str, Any]]:
    page = await world.merged.page(world.actor(user), MergedQuery(COLLECTION, view=view), 1000, "")
    return [read(each.record.content) for each in page.records]


async def lists(world: World, user: str) -> list[list[dict[str, Any]]]:
    """Return the contents of the baseline and of the merged view."""
    return [await contents(world, user, view) for view in (View.BASELINE, View.MERGED)]


def expected(listed: list[list[dict[str, Any]]], query: StatisticsQuery) -> dict[tuple[Any, ...], list[list[Any]]]:
    """Return by the keys of a group the measures of the baseline and of the merged view."""
    keys = [
        (path, GRAINS[grain] if TYPES[path] is FieldType.DATE else KeyType(TYPES[path]))
        for path, grain in query.group_by
    ]
    sides = [grouped(each, keys, lambda content: satisfies(query.filter, content, {}, TYPES)) for each in listed]
    groups = {**sides[0], **sides[1]} if query.group_by else {(): []}
    types = [KeyType(TYPES[measure.path]) if measure.path else None for measure in query.measures]
    return {
        key: [
            [value_of(measure, side.get(key, []), type_) for measure, type_ in zip(query.measures, types, strict=True)]
            for side in sides
        ]
        for key in groups
    }


def problems(query: StatisticsQuery, groups: list[Group], wanted: dict[tuple[Any, ...], list[list[Any]]]) -> list[Any]:
    """Return the groups whose values differ from the expected ones."""
    found = {tuple(read(key) for key in group.keys): group for group in groups}
    wrong: list[Any] = [set(found) ^ set(wanted)] if set(found) != set(wanted) or len(found) != len(groups) else []
    for key in set(found) & set(wanted):
        group = found[key]
        for index, measure in enumerate(query.measures):
            baseline, merged = read(group.baseline[index]), read(group.merged[index])
            difference = read(group.difference[index])
            same = [_equal(each, side[index]) for each, side in zip((baseline, merged), wanted[key], strict=True)]
            if isinstance(baseline, Decimal) and isinstance(merged, Decimal):
                same.append(measure.function is Function.AVG or difference == Fraction(merged) - Fraction(baseline))
            else:
                same.append(difference is None)
            if not all(same):
                wrong.append((key, measure, group, wanted[key]))
    return wrong


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, tuple):  # an average as sum and count
        return found is not None and abs(Fraction(found) * wanted[1] - wanted[0]) <= max(1, abs(wanted[0])) / 10**10
    return bool(found == wanted)


async def wrong_answers(world: World) -> list[Any]:
    found = []
    for user in (*USERS, "eve"):
        listed = await lists(world, user)
        for query in QUERIES:
            wanted = expected(listed, query)
            for scan in (False, True):
                try:
                    result = await answer(world, user, query, scan=scan)
                except StatisticNotReadyError:
                    assert not scan
                    assert not await statistics(world)
                    continue
                assert bool(result.statistic) == bool(await statistics(world))
                found += [(user, query, scan, each) for each in problems(query, groups_of(result), wanted)]
    return found


@pytest.mark.parametrize("seed", range(2))
async def test_answers_are_those_of_the_merged_list_after_any_writes(
    database: Database, tenant_id: str, seed: int
) -> None:
    world, dice = LoggedWorld(database, tenant_id, partial_updates=seed < 1), random.Random(seed)
    await declared(world, "[]")
    await random_writes(world, dice, 25)
    assert await wrong_answers(world) == []
    await declared(world)
    await tallies_of(database).build(tenant_id, COLLECTION)
    for _ in range(4):
        await random_writes(world, dice, 12)
        assert await wrong_answers(world) == []
        await tallies_of(database).fold_all(limit=0)
        assert await wrong_answers(world) == []


async def films(world: World) -> None:
    """Three records and two statistics over them, one draft of ada's and one of bob's."""
    await declared(world)
    for record_id, genre, gross in (("1", "x", 1), ("2", "x", 2.5), ("3", "y", 10**30)):
        await world.create(record_id, {"ea": genre, "en": gross, "o": {"ed": f"2026-0{record_id}-01"}})
    await tallies_of(world.database).build(world.tenant_id, COLLECTION)
    await world.save("ada", change("1", {"en": 1.25}))
    await world.save("ada", creation("9", {"ea": "z", "en": 4}))
    await world.save("bob", change("1", {"en": 7, "ea": "secret of bob"}))
    await world.save("bob", deletion("2"))


async def test_drafts_of_other_users_never_count(world: LoggedWorld) -> None:
    await films(world)
    query = StatisticsQuery(COLLECTION, ((EA, Grain.VALUE),), (COUNT, SUM))
    found = groups_of(await answer(world, "ada", query))
    assert [list(group.keys) for group in found] == [['"x"'], ['"y"'], ['"z"']]
    assert [list(group.difference) for group in found] == [["0", "0.25"], ["0", "0"], ["1", "4"]]
    eve = groups_of(await answer(world, "eve", query))
    assert [(list(group.keys), list(group.difference)) for group in eve] == [
        (['"x"'], ["0", "0"]),
        (['"y"'], ["0", "0"]),
    ]
    having = StatisticsQuery(
        COLLECTION, ((EA, Grain.VALUE),), (COUNT,), having=(GroupCondition(0, Side.DIFFERENCE, "!=", Decimal(0)),)
    )
    assert [list(group.keys) for group in groups_of(await answer(world, "ada", having))] == [['"z"']]
    assert groups_of(await answer(world, "eve", having)) == []
    assert [list(group.keys) for group in groups_of(await answer(world, "bob", having))] == [
        ['"secret of bob"'],
        ['"x"'],
    ]


async def test_groups_come_in_the_requested_order_up_to_the_limit(world: LoggedWorld) -> None:
    await films(world)
    query = StatisticsQuery(
        COLLECTION, ((EA, Grain.VALUE),), (SUM,),
        order=(GroupOrder(0, Side.BASELINE, descending=True), GroupOrder(0, None, descending=True)), limit=2,
    )  # fmt: skip
    found = await answer(world, "ada", query)
    assert [list(group.keys) for group in groups_of(found)] == [['"y"'], ['"x"']]
    assert found.is_truncated
    assert groups_of(found)[0].merged == [str(10**30)]
    all_of_them = await answer(world, "ada", StatisticsQuery(COLLECTION, ((EA, Grain.VALUE),), (SUM,), limit=3))
    assert not all_of_them.is_truncated


async def test_query_that_no_statistic_covers_is_refused_with_the_statistic_to_declare(world: LoggedWorld) -> None:
    await declared(world, "[]")
    query = StatisticsQuery(COLLECTION, ((DAY, Grain.MONTH),), (SUM,), parse_filter("ea = x"))
    with pytest.raises(StatisticNotReadyError) as caught:
        await answer(world, "ada", query)
    wanted = {"group_by": [{"path": "/o/ed", "grain": "MONTH"}, {"path": "/ea"}], "measures": ["/en"]}
    assert json.loads(caught.value.metadata["declare"]) == wanted
    await declared(world)
    with pytest.raises(StatisticNotReadyError, match="is BUILDING"):
        await answer(world, "ada", query)
    await tallies_of(world.database).build(world.tenant_id, COLLECTION)
    assert (await answer(world, "ada", query)).statistic == "day"


async def test_query_that_no_statistic_can_answer_is_refused(world: LoggedWorld) -> None:
    await declared(world)
    refused = (
        "ea:x", "record.version = 1", "record.state = DRAFT", "record.mistyped = true", "ea = null", "u = 1",
        'lower(ea) = "x"',
    )  # fmt: skip
    for text in refused:
        with pytest.raises(InvalidFilterError, match="statistics can be filtered only by comparing declared fields"):
            await answer(world, "ada", StatisticsQuery(COLLECTION, (), (COUNT,), parse_filter(text)))
    for wrong in (
        StatisticsQuery(COLLECTION, ((("u",), Grain.VALUE),), (COUNT,)),
        StatisticsQuery(COLLECTION, ((EA, Grain.MONTH),), (COUNT,)),
        StatisticsQuery(COLLECTION, (), (Measure(Function.SUM, EA),)),
        StatisticsQuery(COLLECTION, (), (COUNT,), order=(GroupOrder(1, Side.MERGED, descending=False),)),
        StatisticsQuery(COLLECTION, (), (COUNT,), having=(GroupCondition(1, Side.MERGED, "=", Decimal(1)),)),
        StatisticsQuery(
            COLLECTION, (), (Measure(Function.MIN, EA),), having=(GroupCondition(0, Side.MERGED, "=", Decimal(1)),)
        ),
    ):
        with pytest.raises(InvalidFieldError):
            await answer(world, "ada", wrong)


async def test_statistic_with_too_many_groups_is_not_used(world: LoggedWorld) -> None:
    await films(world)
    await declared(world, "[]")
    await declared(world)
    await tallies_of(world.database, max_groups=1).build(world.tenant_id, COLLECTION)
    states = {row["name"]: row["state"] for row in await statistics(world)}
    assert states == {name: "READY" if name == "date range" else "INVALID" for name in states}
    await tallies_of(world.database).delete_dropped(world.tenant_id, COLLECTION)
    assert await tally_rows(world) == 25  # of the dates alone, whose range has one group
    query = StatisticsQuery(COLLECTION, ((EA, Grain.VALUE),), (COUNT,))
    with pytest.raises(StatisticNotReadyError, match=r"is INVALID; it has [0-9]+ groups, too many: declare fewer"):
        await answer(world, "ada", query)
    await declared(world, "[]")
    await declared(world)  # other ones are being built, and are worth waiting for
    with pytest.raises(StatisticNotReadyError, match="is BUILDING; wait until it is READY"):
        await answer(world, "ada", query)


async def test_least_and_greatest_values_follow_the_drafts_of_their_user(world: LoggedWorld) -> None:
    await declared(world)
    for number in range(4):
        await world.create(str(number), {"ea": "x", "en": number // 2, "o": {"ed": f"2026-01-0{number + 1}"}})
    await tallies_of(world.database).build(world.tenant_id, COLLECTION)
    measures = tuple(Measure(function, path) for function in (Function.MIN, Function.MAX) for path in (EN, DAY))
    queries = [StatisticsQuery(COLLECTION, (), measures[index::2]) for index in range(2)]

    async def ends(user: str) -> list[str]:
        answers = [groups_of(await answer(world, user, query)) for query in queries]
        assert answers == [groups_of(await answer(world, user, query, scan=True)) for query in queries]
        return [text for (group,) in answers for text in group.merged]

    await world.save("ada", deletion("0"))
    assert await ends("ada") == ["0", "1", '"2026-01-02"', '"2026-01-04"']  # another record has the least number
    await world.save("ada", change("1", {"en": "none", "o": None}))
    assert await ends("ada") == ["1", "1", '"2026-01-03"', '"2026-01-04"']
    for record_id in ("2", "3"):
        await world.save("ada", deletion(record_id))
    assert await ends("ada") == ["null"] * 4
    assert await ends("eve") == ["0", "1", '"2026-01-01"', '"2026-01-04"']


async def test_scan_that_exceeds_the_statement_timeout_names_the_statistic_to_declare(
    postgres_url: str, template: str
) -> None:
    with cloned(postgres_url, template) as url:
        async with connected(url, statement_timeout_s=0.3) as database:
            world = LoggedWorld(database, "scanned")
            await declared(world, "[]")
            holder = await asyncpg.connect(url)
            await holder.execute("BEGIN; LOCK TABLE draftline.draft")
            with pytest.raises(DeadlineExceededError, match=r'declare .*"measures": \["/en"\]'):
                await answer(world, "ada", StatisticsQuery(COLLECTION, (), (SUM,)), scan=True)
            await holder.close()
