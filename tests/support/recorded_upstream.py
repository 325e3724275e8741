"""The toy system of record with a history, and the laws that a sync with it must keep."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from support.toy_upstream import toy

OURS = "draftline"
MISSING = object()


@dataclass(frozen=True)
class Written:
    """A write that the system applied."""

    actor: str
    part_id: str
    record_id: str  # in Draftline: the reference, or the id of a part that others created
    kind: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    key: str = ""


class RecordedSystem(toy.System):  # type: ignore[misc, name-defined]
    """The toy. `broken` names what it claims and does not keep: `keys`, `versions`, `references`."""

    def __init__(self, rates: dict[str, float], seed: int, broken: frozenset[str] = frozenset()) -> None:
        super().__init__(rates, seed)
        self.broken = broken
        self.history: list[Written] = []
        self.undecided = 0  # the length of the history when the first conflict was decided

    def write(self, kind: str, key: str, part_id: str = "", **arguments: Any) -> Any:
        with self.lock:
            actor, sent_key = arguments.pop("actor", OURS), key
            if "keys" in self.broken:
                key = ""
            if "versions" in self.broken:
                arguments["expected"] = None
            known = self.parts.get(part_id)
            before, count = dict(known.content) if known is not None else {}, len(self.log)
            part = super().write(kind, key, part_id, **arguments)
            if len(self.log) > count:
                after = {} if part.deleted else part.content
                record_id = part.reference or part.id
                self.history.append(Written(actor, part.id, record_id, kind, before, dict(after), sent_key))
            return part

    def _new(self, reference: str) -> Any:
        if "references" not in self.broken:
            return super()._new(reference)
        part = toy.Part(f"part-{len(self.parts) + 1}", reference, {})
        self.parts[part.id] = part
        return part

    def living(self) -> list[Any]:
        """Return the parts that are not deleted."""
        with self.lock:
            return [each for each in self.parts.values() if not each.deleted]

    def disturb(self, randomness: random.Random, token: str, fields: tuple[str, ...]) -> None:
        """Edit, create or delete a part, as another client of the system does."""
        with self.lock:
            living, chance = self.living(), randomness.random()
            rates, self.rates = self.rates, {}
            try:
                if not living or chance < 0.05:
                    self.write("create", "", content={fields[0]: token}, actor="other")
                elif chance < 0.07:
                    self.write("delete", "", randomness.choice(living).id, actor="other")
                else:
                    edits = [(f"/{randomness.choice(fields)}", False, token)]
                    self.write("update", "", randomness.choice(living).id, edits=edits, actor="other")
            finally:
                self.rates = rates


@dataclass
class LocalWrites:
    """The values that users wrote. A value is written once, so that it identifies its write."""

    order: dict[tuple[str, str], dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    unknown: set[str] = field(default_factory=set)  # values whose write was not acknowledged
    deleted: set[str] = field(default_factory=set)
    created: set[str] = field(default_factory=set)

    def acknowledged(self, record_id: str, name: str, value: str, version: int) -> None:
        """Note a value and the version of the record that it made."""
        self.order[record_id, name][value] = version

    @property
    def count(self) -> int:
        """The number of acknowledged values."""
        return sum(map(len, self.order.values()))


@dataclass(frozen=True)
class LoggedValue:
    """A value of a path that a change replaced, from the change log."""

    record_id: str
    name: str
    old: Any
    new: Any
    is_pull: bool
    version: int = 0


def trace(system: RecordedSystem, log: list[LoggedValue], record_id: str) -> str:
    """Return what happened to a record on both sides, for the message of a failed test."""
    there = [
        f"  there, {each.actor} {each.kind}: {each.before} -> {each.after} ({each.key})"
        for each in system.history
        if each.record_id == record_id
    ]
    here = [
        f"  here, version {each.version}{' by a pull' if each.is_pull else ''}: {each.name} {each.old} -> {each.new}"
        for each in sorted(log, key=lambda each: each.version)
        if each.record_id == record_id
    ]
    return "\n".join([record_id, *there, *here])


def problems(
    system: RecordedSystem, writes: LocalWrites, local: Mapping[str, Mapping[str, Any]], log: list[LoggedValue]
) -> Iterator[str]:
    """Yield what breaks a law: lost, clobbered, reverted, doubled, overwritten unseen, different at the end."""
    yield from _doubled(system, local)
    yield from _reverted(system, writes)
    yield from _reverted_here(writes, log)
    yield from _lost(system, writes, local)
    yield from _clobbered(system, writes, log)
    yield from _unseen(system, log)
    remote = {part.reference or part.id: part.content for part in system.living()}
    for record_id in sorted(remote.keys() | local.keys()):
        if remote.get(record_id) != local.get(record_id):
            yield f"different: {record_id} is {local.get(record_id)} here and {remote.get(record_id)} there"


def _doubled(system: RecordedSystem, local: Mapping[str, Any]) -> Iterator[str]:
    references = [part.reference for part in system.living() if part.reference]
    for reference in sorted({each for each in references if references.count(each) > 1}):
        yield f"doubled there: {reference}"
    for part in system.parts.values():
        if part.reference and part.id in local:
            yield f"doubled here: {part.reference} is also {part.id}"
    creations = [each.record_id for each in system.history if each.kind == "create" and each.actor == OURS]
    if len(system.parts) < len(creations):
        yield "doubled there: more creations than parts"


def _reverted(system: RecordedSystem, writes: LocalWrites) -> Iterator[str]:
    newest: dict[tuple[str, str], int] = {}
    for each in system.history:
        if each.actor != OURS:
            continue
        for name, value in each.after.items():
            path = each.record_id, name
            order = writes.order.get(path, {}).get(str(value))
            if order is None or each.before.get(name) == value:
                continue
            if order < newest.get(path, 0):
                yield f"reverted: {path} to {value}"
            newest[path] = max(order, newest.get(path, 0))


def _reverted_here(writes: LocalWrites, log: list[LoggedValue]) -> Iterator[str]:
    for each in log:
        order = writes.order.get((each.record_id, each.name), {})
        old, new = order.get(str(each.old)), order.get(str(each.new))
        if each.is_pull and old is not None and new is not None and new < old:
            yield f"reverted: {each.record_id} {each.name} here from {each.old} to {each.new} by a pull"


def _lost(system: RecordedSystem, writes: LocalWrites, local: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    arrived: dict[tuple[str, str], set[str]] = defaultdict(set)
    gone = {each.record_id for each in system.history if each.kind == "delete"} | writes.deleted
    for each in system.history:
        for name, value in each.after.items():
            arrived[each.record_id, name].add(str(value))
    for (record_id, name), values in writes.order.items():
        last = max(values, key=lambda value: values[value])
        final = local.get(record_id, {}).get(name)
        if record_id in gone or last in arrived[record_id, name] or final in writes.unknown:
            continue
        yield f"lost: {record_id} {name} {last}, it is {final!r}"
    for record_id in writes.created - gone:
        if record_id not in local:
            yield f"lost: the record {record_id}"


def _clobbered(system: RecordedSystem, writes: LocalWrites, log: list[LoggedValue]) -> Iterator[str]:
    arrived = {(each.record_id, name, str(value)) for each in system.history for name, value in each.after.items()}
    for each in log:
        ours = str(each.old) in writes.order.get((each.record_id, each.name), {})
        if each.is_pull and ours and (each.record_id, each.name, str(each.old)) not in arrived:
            yield f"clobbered: {each.record_id} {each.name} {each.old} by {each.new}"


def _unseen(system: RecordedSystem, log: list[LoggedValue]) -> Iterator[str]:
    seen = {(each.record_id, each.name, str(each.new)) for each in log}
    theirs = {
        (each.record_id, name, str(value))
        for each in system.history
        if each.actor != OURS
        for name, value in each.after.items()
        if each.before.get(name, MISSING) != value
    }
    for each in system.history[: system.undecided]:
        if each.actor != OURS:
            continue
        for name, value in each.before.items():
            path = each.record_id, name, str(value)
            if each.after.get(name, MISSING) != value and path in theirs and path not in seen and each.kind == "update":
                yield f"overwritten unseen: {path} by {each.after.get(name)}"
