"""Ranges of values as sums of nodes."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from draftline_server.domain.filters.ast import FieldType
from draftline_server.domain.statistics import KeyType
from draftline_server.store.lists.order_keys import encoded_value
from draftline_server.store.statistics.ranges import AFTER, LENGTHS, MISSING, nodes_of
from hypothesis import given
from hypothesis import strategies as st

NUMBERS = st.one_of(
    st.integers(-20, 20).map(Decimal),
    st.decimals(-(10**12), 10**12, allow_nan=False, places=3),
    st.builds(
        lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(-99_999, 99_999), st.integers(-90, 90)
    ),
)
DATES = st.one_of(
    st.dates(date(1, 1, 1), date(9999, 12, 31)),
    st.integers(-40, 40).map(lambda days: date(2000, 1, 1) + timedelta(days)),
)


def nodes_of_key(key: str, type_: KeyType) -> list[str]:
    """Return what draftline.group_nodes returns."""
    return ["a", *(level + key[:length] for level, length in zip("bcd", LENGTHS[type_], strict=True)), "z" + key]


def check(values: list[object], bounds: tuple[str, str], type_: KeyType, keys: list[str]) -> None:
    """Every value of the range is counted by exactly one of its nodes, and no other value by any."""
    low, high = min(bounds), max(bounds)
    nodes = nodes_of((low, high), LENGTHS[type_])
    for key in (*keys, MISSING):
        counted = sum(first <= node < last for first, last in nodes for node in nodes_of_key(key, type_))
        assert counted == (low <= key < high), (key, low, high, nodes)
    assert len(nodes) <= 8


@given(
    values=st.lists(NUMBERS, min_size=1, max_size=30),
    bounds=st.tuples(NUMBERS, NUMBERS),
    after=st.tuples(st.booleans(), st.booleans()),
)
def test_number_is_counted_once_if_it_is_in_the_range(
    values: list[Decimal], bounds: tuple[Decimal, Decimal], after: tuple[bool, bool]
) -> None:
    keys, ends = _keys([*values, *bounds], FieldType.NUMBER), _keys(list(bounds), FieldType.NUMBER)
    for first in ("", ends[0] + AFTER * after[0]):
        for last in (ends[1] + AFTER * after[1], MISSING, MISSING + AFTER):
            check(list(values), (first, last), KeyType.NUMBER_RANGE, keys)


@given(
    values=st.lists(DATES, min_size=1, max_size=30),
    bounds=st.tuples(DATES, DATES),
    after=st.tuples(st.booleans(), st.booleans()),
)
def test_date_is_counted_once_if_it_is_in_the_range(
    values: list[date], bounds: tuple[date, date], after: tuple[bool, bool]
) -> None:
    keys, ends = _keys([*values, *bounds], FieldType.DATE), _keys(list(bounds), FieldType.DATE)
    for first in ("", ends[0] + AFTER * after[0]):
        for last in (ends[1] + AFTER * after[1], MISSING, MISSING + AFTER):
            check(list(values), (first, last), KeyType.DATE_RANGE, keys)


def _keys(values: list[object], type_: FieldType) -> list[str]:
    return [encoded_value(value, type_, descending=False).hex() for value in values]
