"""Drafts of others change nothing that a caller of statistics sees: no group, no condition, no order and no error."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

from draftline_server.domain.errors import DraftlineError
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.statistics import (
    Function,
    Grain,
    GroupCondition,
    GroupOrder,
    Measure,
    Side,
    StatisticsQuery,
)
from draftline_server.store.database import Database
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, change, creation, deletion

from .test_statistic_values import D, N, T, a_query, answer, content, declared
from .test_tallies import statistics, tallies_of

IDS = [f"r{number}" for number in range(12)]
COUNT, TOTAL = Measure(Function.COUNT), Measure(Function.SUM, N)
QUERIES = [
    StatisticsQuery(COLLECTION, ((T, Grain.VALUE),), (COUNT, TOTAL), limit=1),
    StatisticsQuery(
        COLLECTION, ((T, Grain.VALUE),), (COUNT, TOTAL), order=(GroupOrder(1, Side.DIFFERENCE, descending=True),),
        having=(GroupCondition(0, Side.MERGED, ">", Decimal(0)), GroupCondition(1, Side.DIFFERENCE, "!=", Decimal(0))),
    ),
    StatisticsQuery(COLLECTION, (), (Measure(Function.COUNT_DISTINCT, T), Measure(Function.MAX, T))),
    StatisticsQuery(COLLECTION, ((D, Grain.VALUE), (T, Grain.VALUE)), (COUNT,)),  # no statistic covers it
    StatisticsQuery(COLLECTION, (), (Measure(Function.SUM, T),)),  # a text
    StatisticsQuery(COLLECTION, ((("missing",), Grain.VALUE),), (COUNT,)),
    StatisticsQuery(COLLECTION, (), (COUNT,), parse_filter('t = "secret" AND missing = 1')),
]  # fmt: skip


async def seen(world: LoggedWorld, user: str, query: StatisticsQuery, *, scan: bool) -> Any:
    """Return all that a caller sees: the answer, or the error with its text and metadata."""
    try:
        return await answer(world, user, query, scan=scan)
    except DraftlineError as error:
        return type(error), str(error), error.metadata


async def drafted_by_others(world: LoggedWorld) -> None:
    for number, record_id in enumerate(IDS):
        values = {"t": f"secret {number}", "n": 10**9 + number, "d": "1950-01-01", "b": True}
        edit = [change(record_id, values), deletion(record_id), creation(f"new {number}", values)][number % 3]
        await world.save("bob", edit)


async def test_drafts_of_others_are_not_visible(database: Database, tenant_id: str) -> None:
    """Compare two tenants with the same records and drafts, of which one has drafts of another user too."""
    plain, crowded = (LoggedWorld(database, f"{tenant_id}-{name}") for name in ("plain", "crowded"))
    for world in (plain, crowded):
        dice = random.Random("isolation")
        await declared(world)
        await world.load({each: content(dice) for each in IDS})
        await tallies_of(database).build(world.tenant_id, COLLECTION)
        for record_id in IDS[::3]:
            await world.save("ada", change(record_id, content(dice)))
        await world.save("ada", creation("own", content(dice)))
    await drafted_by_others(crowded)
    dice = random.Random("isolation")
    queries = [*QUERIES, *(a_query(dice) for _ in range(10))]
    for _ in range(2):
        for query in queries:
            for user in ("ada", "eve"):
                for scan in (False, True):
                    found = [await seen(world, user, query, scan=scan) for world in (plain, crowded)]
                    assert found[0] == found[1], (user, scan, query)
        await tallies_of(database).fold_all(limit=0)
    states = [[(row["name"], row["state"], row["group_count"]) for row in await statistics(world)]
              for world in (plain, crowded)]  # fmt: skip
    assert states[0] == states[1]
