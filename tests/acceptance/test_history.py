"""The checker of histories finds what it is there to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from support.call_history import Call, End, History, Stored, Written
from support.retrying_writers import increment


def called(call_id: str, started: float, versions: dict[str, int], end: End = End.DONE) -> Call:
    return Call(call_id, dict.fromkeys(versions, increment), started, started + 1, end, versions)


def history(*others: Call) -> History:
    """Two calls of two records each, one after the other, and others."""
    calls = [called("one", 1, {"a": 1, "b": 1}), called("two", 3, {"a": 2, "b": 2}), *others]
    return History({call.call_id: call for call in calls})


LOG = [
    Written(record_id, version, call_id, (version, 0))
    for record_id in "ab"
    for version, call_id in ((1, "one"), (2, "two"))
]
STORED = Stored({"a": (2, {"n": 2}), "b": (2, {"n": 2})}, LOG)


def without(*places: int) -> list[Written]:
    return [written for place, written in enumerate(LOG) if place not in places]


def test_history_that_is_stored_has_no_problems() -> None:
    unknown = called("three", 5, {"a": 3}, End.UNKNOWN)
    assert history(unknown).problems(STORED) == []
    done = replace(STORED, records={**STORED.records, "a": (3, {"n": 3})}, log=[*LOG, Written("a", 3, "three", (3, 0))])
    assert history(unknown).problems(done) == []


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        (Stored({"a": (1, {"n": 1}), "b": (1, {"n": 1})}, without(1, 3)), "two was acknowledged and lost"),
        (Stored({"a": (2, {"n": 2}), "b": (1, {"n": 1})}, without(3)), "two was torn"),
        (Stored({"a": (3, {"n": 3}), "b": (2, {"n": 2})}, [*LOG, Written("a", 3, "two", (3, 0))]), "two was done more"),
        (replace(STORED, log=[*without(3), Written("b", 3, "two", (3, 0))]), "b is at version 2"),
        (replace(STORED, records={**STORED.records, "b": (2, {"n": 1})}), "b is {'n': 1}"),
        (replace(STORED, records={"a": (2, {"n": 2})}), "b is gone"),
        (replace(STORED, records={**STORED.records, "c": (1, {})}), "c has no log"),
        (replace(STORED, log=[*LOG, Written("c", 1, "other", (3, 0))]), "other was made by nobody"),
        (replace(STORED, log=[*without(3), Written("b", 2, "two", (0, 0))]), "the log of b is not in the order"),
    ],
)
def test_difference_between_what_was_told_and_what_is_stored_is_found(stored: Stored, problem: str) -> None:
    assert any(problem in found for found in history().problems(stored))


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (lambda call: replace(call, versions={"a": 2, "b": 3}), "two was answered"),
        (lambda call: replace(call, end=End.REFUSED), "two was refused, and done"),
        (lambda call: replace(call, started=-2, ended=-1), "began after a later version"),
    ],
)
def test_answer_that_is_not_true_is_found(changed: Callable[[Call], Call], problem: str) -> None:
    told = history()
    told.calls["two"] = changed(told.calls["two"])
    assert any(problem in found for found in told.problems(STORED))
