"""Filters over changes take what an oracle takes, whatever is compared with whatever."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from draftline_server.domain.change_query import CHANGE_ATTRIBUTES
from draftline_server.domain.changes import Change, ChangeKind, ChangeSource
from draftline_server.domain.filters.ast import And, Field, FieldType, Literal, LiteralKind, Operator, Restriction
from draftline_server.domain.records import Purge
from draftline_server.store.purges import PurgeStore
from hypothesis import given, settings
from hypothesis import strategies as st
from support.change_strategies import relaxed
from support.filter_oracle import satisfies
from support.filter_strategies import combined, render
from support.soak_scale import examples
from support.tenant_changes import LoggedWorld, some_of_everything
from support.tenant_stores import COLLECTION


def attributes_of(change: Change) -> dict[str, Any]:
    """Return the attributes of a change as a filter sees them, without empty ones."""
    attributes = {name: getattr(change, name) for name in CHANGE_ATTRIBUTES if name != "create_time"}
    attributes["create_time"] = change.created_at.isoformat()
    return {name: value for name, value in attributes.items() if value != ""}


ALL_FIELDS = {(name,): type_ for name, type_ in CHANGE_ATTRIBUTES.items()}
EQUALITY = [Operator.EQ, Operator.NE, Operator.HAS]


def restrictions_of(logged: Sequence[Change]) -> list[Restriction]:
    """Every attribute compared in every way with values that changes have, and with some that none has."""
    found: list[Restriction] = []
    for name, type_ in CHANGE_ATTRIBUTES.items():
        field = Field((name,))
        values = {str(attributes[name]) for each in logged if name in (attributes := attributes_of(each))}
        of_words = {"kind": list(ChangeKind), "source": list(ChangeSource), "request_id": [str(uuid.uuid4())]}
        values |= set(of_words.get(name, ()))
        if type_ is FieldType.TEXT and name not in (*of_words, "commit_id"):
            values |= {"", "s", "zzz", "A"}
            found += [
                Restriction(field, operator, Literal(LiteralKind.TEXT, "*".join(parts), parts), lowered)
                for parts in (("", ""), ("a", ""), ("", "Ä", ""), ("\U0010ffff", ""))
                for lowered in ((False, True) if len(parts) > 2 else (False,))
                for operator in (Operator.EQ, Operator.NE)
            ]
            found += [  # in the other case, so that an equality without lower() finds nothing
                Restriction(field, operator, Literal(LiteralKind.TEXT, value.swapcase()), lowered=True)
                for value in sorted(values)
                for operator in Operator
            ]
        is_ordered = name not in (*of_words, "commit_id")
        kind = LiteralKind.NUMBER if type_ is FieldType.NUMBER else LiteralKind.TEXT
        found += [
            Restriction(field, operator, Literal(kind, value))
            for value in sorted(values)
            for operator in (Operator if is_ordered else EQUALITY)
        ]
        found += [Restriction(field, operator, Literal(LiteralKind.NULL, "null")) for operator in EQUALITY[:2]]
        found.append(Restriction(field, Operator.HAS, Literal(LiteralKind.ANY, "*")))
    return found


async def assert_like_oracle(world: LoggedWorld, logged: Sequence[Change], tree: Any) -> None:
    text = render(tree).replace("content.", "")
    expected = [each for each in logged if satisfies(tree, attributes_of(each), {}, ALL_FIELDS)]
    assert await world.all(filter_text=text, oldest_first=True) == expected, text


async def test_filter_takes_the_changes_that_satisfy_it(world: LoggedWorld) -> None:
    await some_of_everything(world)
    await world.create("gone", {})
    await world.delete("gone")
    purges, purge = PurgeStore(), Purge(COLLECTION, ["gone"], None, 10, b"-", b"-")
    settle_by = purges.settle_by()
    await world.write(
        "eve",
        lambda transaction: purges.purge(transaction, world.actor("eve"), purge, settle_by=settle_by, change_reason=""),
    )
    logged = await world.all(oldest_first=True)
    assert {each.kind for each in logged} == set(ChangeKind)
    assert {each.source for each in logged} == set(ChangeSource) - {ChangeSource.SYNC_PULL, ChangeSource.SYNC_RESOLVE}
    for restriction in restrictions_of(logged):
        await assert_like_oracle(world, logged, restriction)


@given(data=st.data())
@settings(relaxed, max_examples=examples(40))
async def test_filter_of_many_terms_takes_the_changes_that_satisfy_it(everything: Any, data: st.DataObject) -> None:
    world, logged, restrictions = everything
    one = st.integers(0, len(restrictions) - 1).map(lambda place: restrictions[place])
    several = st.lists(one, min_size=2, max_size=4).map(tuple)
    tree = data.draw(st.recursive(several.map(And), combined, max_leaves=6))
    await assert_like_oracle(world, logged, tree)


@pytest.fixture
async def everything(world: LoggedWorld) -> Any:
    await some_of_everything(world)
    logged = await world.all(oldest_first=True)
    return world, logged, restrictions_of(logged)
