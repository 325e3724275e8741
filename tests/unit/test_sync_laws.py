"""The laws of a sync, which the soak test checks: each is noticed when it is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.recorded_upstream import LocalWrites, LoggedValue, RecordedSystem, problems
from support.toy_upstream import toy

VALUES = {"u1": 1, "u2": 2}


class Case:
    """A record `r` with the local values u1 and u2 of `a`, and a system that has u2 in the end."""

    def __init__(self) -> None:
        self.system = RecordedSystem({}, 0)
        self.writes = LocalWrites()
        for value, version in VALUES.items():
            self.writes.acknowledged("r", "a", value, version)
        self.writes.created.add("r")
        self.local: dict[str, dict[str, Any]] = {"r": {"a": "u2"}}
        self.log: list[LoggedValue] = []
        self.part = self.system.write("create", "k1", reference="r", content={"a": "u1"})
        self.sets("u2")

    def sets(self, value: str, actor: str = "draftline") -> None:
        self.system.write("update", "", self.part.id, edits=[("/a", False, value)], actor=actor)

    def pulled(self, old: str, new: str) -> None:
        self.log.append(LoggedValue("r", "a", old, new, is_pull=True))

    def found(self) -> list[str]:
        self.system.undecided = len(self.system.history)
        return [each.partition(":")[0] for each in problems(self.system, self.writes, self.local, self.log)]


def doubled(case: Case) -> None:
    case.system.broken = frozenset({"references"})
    case.system.write("create", "k2", reference="r", content={"a": "u2"})


def doubled_here(case: Case) -> None:
    case.local[case.part.id] = {"a": "u2"}


def reverted(case: Case) -> None:
    case.sets("u1")


def reverted_by_a_pull(case: Case) -> None:
    case.pulled("u2", "u1")


def lost(case: Case) -> None:
    case.writes.acknowledged("r", "a", "u3", 3)


def lost_record(case: Case) -> None:
    case.writes.created.add("r2")


def clobbered(case: Case) -> None:
    case.writes.acknowledged("r", "a", "u3", 3)
    case.pulled("u3", "t1")


def overwritten_unseen(case: Case) -> None:
    case.sets("t1", actor="other")
    case.sets("u2")


def torn(case: Case) -> None:
    case.writes.families = dict.fromkeys(("r", "r2", "r3"), "family")
    case.system.write("create", "k2", reference="r2", content={"a": "u2"})


def different(case: Case) -> None:
    case.local["r"] = {"a": "u1"}


@pytest.mark.parametrize(
    ("breaks", "law"),
    [
        (doubled, "doubled there"),
        (doubled_here, "doubled here"),
        (reverted, "reverted"),
        (reverted_by_a_pull, "reverted"),
        (lost, "lost"),
        (lost_record, "lost"),
        (clobbered, "clobbered"),
        (overwritten_unseen, "overwritten unseen"),
        (torn, "torn"),
        (different, "different"),
    ],
)
def test_broken_law_is_noticed(breaks: Callable[[Case], None], law: str) -> None:
    case = Case()
    assert case.found() == []
    breaks(case)
    assert law in case.found()


def test_value_of_others_that_was_pulled_before_may_be_overwritten() -> None:
    case = Case()
    case.sets("t1", actor="other")
    case.pulled("u2", "t1")
    case.sets("u2")
    assert case.found() == []


def test_commit_that_was_applied_in_one_batch_is_whole() -> None:
    case = Case()
    case.system = RecordedSystem({}, 0)
    case.writes.families = dict.fromkeys(("r", "r2", "r3"), "family")
    writes = [toy.PartWrite("create", name, reference=name, content={"a": "u2"}) for name in case.writes.families]
    case.system.write_all(writes)
    case.local = {name: {"a": "u2"} for name in case.writes.families}
    assert case.found() == []
