"""Statistics of ranges: filters that compare a field with any values."""

from __future__ import annotations

import json
import random
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from draftline_server.domain.errors import StatisticNotReadyError
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.statistics import Function, Grain, Measure, StatisticsQuery
from support.statistics_oracle import groups_of
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, change, creation, deletion

from .test_statistics import COUNT, DAY, EA, EN, SUM, answer, expected, lists, problems
from .test_tallies import declared, tallies_of, wrong_groups

STATISTICS = json.dumps([
    {"name": "number", "keys": [{"path": ["en"], "type": "NUMBER_RANGE"}, {"path": ["ea"], "type": "TEXT"}],
     "measures": [["en"]]},
    {"name": "date", "keys": [{"path": ["o", "ed"], "type": "DATE_RANGE"}], "measures": [["en"]]},
])  # fmt: skip


def a_number(dice: random.Random) -> Decimal:
    return dice.choice([Decimal(dice.randint(-9, 9)), Decimal(dice.randint(-(10**9), 10**9)) / 1000, Decimal(10) ** 40])


def a_day(dice: random.Random) -> str:
    return (date(2000, 1, 1) + timedelta(dice.choice([dice.randint(-20, 20), dice.randint(-9000, 9000)]))).isoformat()


def content(dice: random.Random) -> dict[str, Any]:
    number = a_number(dice)
    return {
        "ea": dice.choice(["x", "y", None]),
        "en": dice.choice([float(number), int(number), None, "text"]),
        "o": {"ed": dice.choice([a_day(dice), "no day"])},
    }


def a_filter(dice: random.Random, field: str, value: str, other: str) -> str:
    operators = [dice.choice(["<", "<=", ">", ">=", "=", "!="]) for _ in range(3)]
    return dice.choice([
        f"{field} {operators[0]} {value}",
        f"{field} {operators[0]} {value} AND {field} {operators[1]} {other}",
        f"NOT ({field} {operators[0]} {value} OR {field} {operators[1]} {other})",
        f"{field} = {value} OR {field} = {other} OR {field} {operators[2]} {value}",
    ])  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
async def test_sums_of_any_range_are_those_of_the_merged_list(world: LoggedWorld, seed: int) -> None:
    dice = random.Random(seed)
    await declared(world, STATISTICS)
    await world.load({f"r{number}": content(dice) for number in range(60)})
    for number in range(20):
        edit = dice.choice(
            [change(f"r{number}", content(dice)), deletion(f"r{number}"), creation(f"new{number}", content(dice))]
        )
        await world.save("ada", edit)
    await world.create("new3", content(dice))  # perhaps under a draft that creates it
    tallies = tallies_of(world.database)
    await tallies.build(world.tenant_id, COLLECTION)
    for turn in range(3):
        for _ in range(6):
            value, other = (format(a_number(dice), "f") for _ in range(2))
            text = a_filter(dice, "en", value, other)
            text = dice.choice([text, f"({text}) AND ea = x", f"({text}) OR NOT ea = y"])
            query = StatisticsQuery(COLLECTION, ((EA, Grain.VALUE),), (COUNT, SUM), parse_filter(text))
            await compare(world, query)
            text = a_filter(dice, "o.ed", a_day(dice), a_day(dice))
            await compare(
                world, StatisticsQuery(COLLECTION, (), (COUNT, SUM, Measure(Function.AVG, EN)), parse_filter(text))
            )
        await compare(world, StatisticsQuery(COLLECTION, (), (COUNT, SUM)))
        await world.load({f"r{number}": content(dice) for number in dice.sample(range(80), 20)})
        if turn == 1:
            await tallies.fold_all(limit=0)
        assert await wrong_groups(world) == []


async def compare(world: LoggedWorld, query: StatisticsQuery) -> None:
    for user in ("ada", "eve"):
        found = await answer(world, user, query)
        assert found.statistic
        assert problems(query, groups_of(found), expected(await lists(world, user), query)) == [], query.filter


async def test_refusal_names_the_range_to_declare(world: LoggedWorld) -> None:
    await declared(world, "[]")
    query = StatisticsQuery(COLLECTION, ((EA, Grain.VALUE),), (SUM,), parse_filter("en > 7"))
    with pytest.raises(StatisticNotReadyError) as caught:
        await answer(world, "ada", query)
    assert json.loads(caught.value.metadata["declare"]) == {
        "group_by": [{"path": "/ea"}], "measures": ["/en"], "range_by": "/en",
    }  # fmt: skip
    await declared(world, STATISTICS)
    await tallies_of(world.database).build(world.tenant_id, COLLECTION)
    assert (await answer(world, "ada", query)).statistic == "number"


async def test_range_covers_no_group_and_no_function_of_its_values(world: LoggedWorld) -> None:
    await declared(world, STATISTICS)
    await tallies_of(world.database).build(world.tenant_id, COLLECTION)
    for query in (
        StatisticsQuery(COLLECTION, ((EN, Grain.VALUE),), (COUNT,)),
        StatisticsQuery(COLLECTION, (), (Measure(Function.COUNT_DISTINCT, EN),), parse_filter("en > 1")),
        StatisticsQuery(COLLECTION, (), (Measure(Function.MIN, DAY),)),
        StatisticsQuery(COLLECTION, (), (Measure(Function.COUNT, DAY),)),
    ):
        with pytest.raises(StatisticNotReadyError):
            await answer(world, "ada", query)
