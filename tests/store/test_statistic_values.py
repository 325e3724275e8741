"""Answers of statistics over values of every kind, with conditions, orders and limits, against the merged list."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from draftline_server.domain.errors import DraftlineError, StatisticNotReadyError
from draftline_server.domain.filters.ast import FieldType, Path
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.statistics import (
    Function,
    Grain,
    GroupCondition,
    GroupOrder,
    KeyType,
    Measure,
    Side,
    StatisticsQuery,
)
from draftline_server.store.database import Database
from draftline_server.store.driver_errors import RacedError
from support.filter_oracle import satisfies
from support.soak_scale import length
from support.statistics_oracle import grouped, groups_of, read, value_of
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, change, creation, deletion

from .test_order_entries import purge
from .test_statistics import answer, lists
from .test_tallies import tallies_of, wrong_groups

T, N, B, D, E = ("t",), ("n",), ("b",), ("d",), ("o", "a/b~c")
TYPES: dict[Path, FieldType] = {
    T: FieldType.TEXT, N: FieldType.NUMBER, B: FieldType.BOOLEAN, D: FieldType.DATE, E: FieldType.NUMBER,
}  # fmt: skip
NUMBERS = [0, -0.0, 1, 1.0, -1, 1e2, 0.1, 0.2, -0.3, 10**99, 10**100 - 1, 10**100, -(10**99), 1e-100, 1e-101]
OTHERS: list[Any] = [None, True, "1", [1], {"v": 1}]
VALUES: dict[Path, list[Any]] = {
    T: ["", "1", "1.0", "null", "\u00e9", "e\u0301", "\u00df", "a" * 800, "a" * 801, "\u00fc" * 401, '"\\', "\x01",
        "2026-01-01", "\U0001f3ac", 5, ["x"], {}, None],
    N: NUMBERS + OTHERS,
    B: [True, False, "true", 0, 1, None, []],
    D: ["0001-01-01", "9999-12-31", "2024-02-29", "2023-02-29", "2026-01-01", "2026-01-31", "2025-12-31", "2026-1-1",
        "0000-01-01", "2026-01-01T00:00:00Z", "10000-01-01", 20260101, None],
    E: NUMBERS + OTHERS,
}  # fmt: skip
LITERALS: dict[Path, list[str]] = {
    T: ['""', '"1"', '"1.0"', '"\u00e9"', '"e\u0301"', '"a*"', '"\U0001f3ac"', '"2026-01-01"'],
    N: ["0", "1", "1.0", "-1", "100", "0.1", "1" + "0" * 99, "0." + "0" * 99 + "1"],
    B: ["true", "false"],
    D: ["0001-01-01", "9999-12-31", "2026-01-01", "2026-01-31", "2025-12-31", "2024-02-29", "2026-02-01"],
    E: ["0", "1.0", "100", "-0.3"],
}
NAMES = {T: "t", N: "n", B: "b", D: "d", E: 'o."a/b~c"'}
STATISTICS = [
    (["TEXT", "NUMBER"], [T, N], [N, E]),
    (["DATE", "BOOLEAN"], [D, B], [N]),
    (["MONTH", "TEXT", "BOOLEAN"], [D, T, B], [E]),
    (["NUMBER", "YEAR"], [E, D], []),
    (["NUMBER_RANGE", "BOOLEAN"], [N, B], [N, E]),
    (["DATE_RANGE", "TEXT"], [D, T], [E]),
]
QUERIES = length("STATISTIC_QUERIES", 12, soak=150)  # after each round of writes
MAX_TEXT_BYTES = 800
IDS = [f"r{number}" for number in range(40)]


async def declared(world: LoggedWorld) -> None:
    fields = [{"path": path, "type": type_} for path, type_ in TYPES.items()]
    statistics = [
        {"name": str(index), "keys": [{"path": path, "type": type_} for type_, path in zip(types, paths, strict=True)],
         "measures": measures}
        for index, (types, paths, measures) in enumerate(STATISTICS)
    ]  # fmt: skip
    await world.declare(fields=json.dumps(fields), statistics=json.dumps(statistics))
    await world.specs.load(world.tenant_id, [COLLECTION])


def content(dice: random.Random) -> dict[str, Any]:
    values: dict[str, Any] = {path[0]: dice.choice(VALUES[path]) for path in (T, N, B, D)}
    nested = {E[1]: dice.choice(VALUES[E])}
    values["o"] = dice.choice([nested, nested, nested, [nested], {}, "x", None])
    return {name: value for name, value in values.items() if dice.random() < 0.9}


async def write(world: LoggedWorld, dice: random.Random) -> None:
    """Write a random record in a random way, or fail."""
    user, record_id, value = dice.choice(["ada", "bob"]), dice.choice(IDS), content(dice)
    steps: list[Callable[[], Any]] = [
        lambda: world.patch(record_id, value),
        lambda: world.save(user, change(record_id, value, allow_deleted=True)),
        lambda: world.save(user, creation(record_id, value, replace=True)),
        lambda: world.save(user, deletion(record_id)),
        lambda: world.delete(record_id),
        lambda: world.undelete(record_id),
        lambda: purge(world, record_id),
        lambda: world.create(record_id, value),
        lambda: world.load({each: content(dice) for each in dice.sample(IDS, 3)}),
    ]
    with suppress(DraftlineError, RacedError):
        await dice.choice(steps)()


def a_query(dice: random.Random) -> StatisticsQuery:
    """Return a query that one of the statistics covers, mostly."""
    types, paths, measures = dice.choice(STATISTICS)
    keys = [path for path, type_ in zip(paths, types, strict=True) if not type_.endswith("RANGE")]
    grains = {"DATE": list(Grain), "MONTH": [Grain.MONTH, Grain.YEAR], "YEAR": [Grain.YEAR]}
    by_path = dict(zip(paths, types, strict=True))
    group_by = tuple((path, dice.choice(grains.get(by_path[path], [Grain.VALUE])))
                     for path in dice.sample(keys, dice.randint(0, len(keys))))  # fmt: skip
    wanted = [Measure(Function.COUNT)]
    for path in measures:
        wanted += [Measure(function, path) for function in (Function.SUM, Function.AVG, Function.COUNT)]
    for path in keys:
        if by_path[path] not in ("MONTH", "YEAR"):
            wanted.append(Measure(Function.COUNT_DISTINCT, path))
            if by_path[path] != "BOOLEAN":
                wanted += [Measure(Function.MIN, path), Measure(Function.MAX, path)]
    chosen = tuple(dice.sample(wanted, dice.randint(1, min(4, len(wanted)))))
    terms = [_term(dice, path) for path in dice.sample(paths, dice.randint(0, len(paths)))]
    text = dice.choice([" AND ", " OR "]).join(terms)
    text = f"NOT ({text})" if text and dice.random() < 0.3 else text
    numeric = [
        index for index, measure in enumerate(chosen)
        if measure.function not in (Function.MIN, Function.MAX) or TYPES[measure.path] is FieldType.NUMBER
    ]  # fmt: skip
    having = tuple(
        _group_condition(dice, chosen, dice.choice(numeric)) for _ in range(dice.choice([0, 0, 1, 2])) if numeric
    )
    order = [GroupOrder(index, None, dice.random() < 0.5) for index in range(len(group_by)) if dice.random() < 0.3]
    order += [
        GroupOrder(index, dice.choice(list(Side)), dice.random() < 0.5)
        for index in range(len(chosen))
        if dice.random() < 0.5
    ]
    dice.shuffle(order)
    return StatisticsQuery(
        COLLECTION, group_by, chosen, parse_filter(text), tuple(order), having, dice.choice([2, 5, 999])
    )


def _group_condition(dice: random.Random, measures: Sequence[Measure], index: int) -> GroupCondition:
    side = dice.choice(list(Side))
    if measures[index].function is Function.AVG:  # rounded, so not compared with what it may equal
        return GroupCondition(index, side, dice.choice(["<", ">="]), Decimal(dice.choice(["0.37", "-12.5", "1e98"])))
    value = Decimal(dice.choice(["0", "1", "-1", "0.1", "1" + "0" * 99]))
    return GroupCondition(index, side, dice.choice(["=", "!=", "<", "<=", ">", ">="]), value)


def _term(dice: random.Random, path: Path) -> str:
    literal = dice.choice(LITERALS[path])
    is_ordered = path != B and "*" not in literal
    return f"{NAMES[path]} {dice.choice(['=', '!=', '<', '<=', '>', '>='][: 6 if is_ordered else 2])} {literal}"


def compared(content: dict[str, Any]) -> dict[str, Any]:
    """Return a content as filters see it: a text that is too long counts as missing."""
    is_long = isinstance(content.get("t"), str) and len(content["t"].encode()) > MAX_TEXT_BYTES
    return {**content, "t": None} if is_long else content


def wanted(listed: list[list[dict[str, Any]]], query: StatisticsQuery) -> list[tuple[Any, ...]]:
    """Return the keys and the values of all sides of the groups, in order, without the limit."""
    grain_types = {Grain.MONTH: KeyType.MONTH, Grain.YEAR: KeyType.YEAR}
    keys = [(path, grain_types.get(grain, KeyType(TYPES[path]))) for path, grain in query.group_by]
    sides = [grouped(each, keys, lambda it: satisfies(query.filter, compared(it), {}, TYPES)) for each in listed]
    types = [KeyType(TYPES[measure.path]) if measure.path else None for measure in query.measures]
    found = []
    for key in {**sides[0], **sides[1]} if keys else {(): []}:
        values = [
            [
                _plain(value_of(measure, side.get(key, []), type_))
                for measure, type_ in zip(query.measures, types, strict=True)
            ]
            for side in sides
        ]
        difference = [_difference(*each) for each in zip(*values, strict=True)]
        found.append((key, dict(zip(Side, (*values, difference), strict=True))))
    found = [each for each in found if all(_holds(condition, each[1]) for condition in query.having)]
    orders = [*query.order, *(GroupOrder(index, None, descending=False) for index in range(len(keys)))]
    for order in reversed(orders):

        def value(each: Any, order: GroupOrder = order) -> Any:
            return each[0][order.index] if order.side is None else each[1][order.side][order.index]

        present = sorted((each for each in found if value(each) is not None), key=value, reverse=order.descending)
        found = [*present, *(each for each in found if value(each) is None)]
    return found


def _plain(value: Any) -> Any:
    return Fraction(*value) if isinstance(value, tuple) else value


def _difference(baseline: Any, merged: Any) -> Any:
    is_text = isinstance(baseline, str) or isinstance(merged, str)
    return None if is_text or baseline is None or merged is None else Fraction(merged) - Fraction(baseline)


def _holds(condition: GroupCondition, sides: dict[Side, list[Any]]) -> bool:
    value = sides[condition.side][condition.index]
    return value is not None and {
        "=": value == condition.value, "!=": value != condition.value, "<": value < condition.value,
        "<=": value <= condition.value, ">": value > condition.value, ">=": value >= condition.value,
    }[condition.operator]  # fmt: skip


def same(found: Any, expected: Any, measure: Measure) -> bool:
    if measure.function is Function.AVG and found is not None and expected is not None:  # rounded
        return abs(Fraction(found) - expected) <= max(Fraction(1, 10**15), abs(expected)) / 10**13
    return bool(found == expected) and (found is None) == (expected is None)


async def wrong(world: LoggedWorld, user: str, query: StatisticsQuery, *, scan: bool) -> list[Any]:
    expected = wanted(await lists(world, user), query)
    result = await answer(world, user, query, scan=scan)
    found = groups_of(result)
    problems: list[Any] = []
    if [[read(key) for key in each.keys] for each in found] != [list(key) for key, _ in expected[: query.limit]]:
        problems.append(([each.keys for each in found], [key for key, _ in expected]))
    for group, (key, sides) in zip(found, expected, strict=False):
        for side in Side:
            texts = getattr(group, side.lower())
            for text, value, measure in zip(texts, sides[side], query.measures, strict=True):
                if not same(read(text), value, measure) and not (
                    side is Side.DIFFERENCE and measure.function is Function.AVG
                ):
                    problems.append((key, side, measure, text, value))
    if result.is_truncated != (len(expected) > query.limit):
        problems.append(result)
    return problems


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2))
async def test_values_of_every_kind_are_counted_as_the_merged_list_has_them(
    database: Database, tenant_id: str, seed: int
) -> None:
    world, dice = LoggedWorld(database, tenant_id, partial_updates=seed < 1), random.Random(f"values-{seed}")
    await declared(world)
    await world.load({each: content(dice) for each in IDS[:30]})
    await tallies_of(database).build(tenant_id, COLLECTION)
    covered = 0
    for turn in range(3):
        for _ in range(15):
            await write(world, dice)
        for _ in range(QUERIES):
            query, user = a_query(dice), dice.choice(["ada", "bob", "eve"])
            for scan in (False, True):
                try:
                    problems = await wrong(world, user, query, scan=scan)
                    covered += 1
                except StatisticNotReadyError:
                    assert not scan
                    continue
                assert problems == [], (user, scan, query)
        if turn == 1:
            await tallies_of(database).fold_all(limit=0)
        assert await wrong_groups(world) == []
    assert covered > QUERIES
