"""Shares of a limit: whatever one caller takes, another finds room."""

from __future__ import annotations

from collections import Counter

from draftline_server.concurrency.fair_shares import Shares
from draftline_server.concurrency.rate_limit import Rate
from hypothesis import given
from hypothesis import strategies as st

CALLERS = "abc"
STEPS = st.lists(st.tuples(st.sampled_from(["take", "give back", "move"]), st.sampled_from(CALLERS),
                           st.sampled_from(CALLERS)), max_size=80)  # fmt: skip


@given(most=st.integers(1, 20), part=st.integers(1, 8), steps=STEPS)
def test_shares_are_counted_and_bounded(most: int, part: int, steps: list[tuple[str, str, str]]) -> None:
    shares, held = Shares(most, most // part), Counter[str]()
    for step, caller, other in steps:
        free = most - held.total()
        if step == "take":
            taken = shares.take(caller)
            assert taken is (free > 0 and (free > most // part or held[caller] < free))
            held[caller] += taken
        elif held[caller] and step == "give back":
            shares.release(caller)
            held[caller] -= 1
        elif held[caller] and shares.move(caller, other):
            held[caller] -= 1
            held[other] += 1
        assert shares.taken == held.total() <= most


@given(most=st.integers(8, 3000))
def test_caller_who_takes_all_he_can_leaves_others_more_than_one(most: int) -> None:
    shares = Shares(most, most // 8)
    while shares.take("greedy"):
        pass
    room = most - shares.taken
    for caller in ("second", "third"):
        assert shares.take(caller) or room < 2
    taken = 1
    while shares.take("second"):
        taken += 1
    assert taken >= (most // 8) // 2 - 1


def test_one_alone_may_have_nearly_all() -> None:
    shares = Shares(3000, 375)
    while shares.take("alone"):
        pass
    assert shares.taken >= 2625


def test_rate_allows_a_burst_and_then_so_many_a_second() -> None:
    now = 100.0
    rate = Rate(2.0, 5, lambda: now)
    assert [rate.allows() for _ in range(7)] == [True] * 5 + [False] * 2
    now += 1.0
    assert [rate.allows() for _ in range(3)] == [True, True, False]
    now += 1000.0
    assert [rate.allows() for _ in range(6)] == [True] * 5 + [False]
