"""The ids of a snapshot, of which there may be millions."""

from __future__ import annotations

import tracemalloc

from draftline_server.sync.pull import SeenIds
from hypothesis import given
from hypothesis import strategies as st


@given(pages=st.lists(st.lists(st.text())), others=st.sets(st.text()))
def test_seen_ids_are_those_that_were_added(pages: list[list[str]], others: set[str]) -> None:
    """Add pages, searching after each, and find what a set finds."""
    seen, expected = SeenIds(), set[str]()
    for page in pages:
        seen.add(page)
        expected |= set(page)
        assert {each for each in expected | others if each in seen} == expected
    assert len(seen) == sum(map(len, pages))


def test_seen_ids_take_little_memory() -> None:
    """Add and search many ids; a list of the sorted numbers would take 40 bytes each."""
    count = 20_000
    tracemalloc.start()
    try:
        seen = SeenIds()
        seen.add(f"part-{number}" for number in range(count))
        assert "part-7" in seen
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30 * count  # 15 to 20 each: other threads of the run allocate as well
