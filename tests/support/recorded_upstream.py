"""The toy system of record with a history, and the laws that a sync with it must keep."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from support.toy_upstream import toy

OURS = "draftline"
MISSING = object()
FAMILY_SIZE = 3
FAMILY_FIELDS = ("a", "b")


def tidy(value: Any) -> Any:
    """Return a value as the system stores it: texts without spaces at their ends."""
    return value.strip() if isinstance(value, str) else value


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
    batch: int = 0  # writes that were applied together have the same number
    at: float = 0.0  # seconds since the epoch


@dataclass(frozen=True)
class Rejected:
    """A write that the system did not apply."""

    status: int
    part_id: str
    reference: str
    kind: str
    expected: str | None
    key: str
    at: float


class RecordedSystem(toy.System):  # type: ignore[misc, name-defined]
    """The toy, which removes spaces at the ends of texts.

    `broken` names what it claims and does not keep: `keys`, `versions`, `references`.
    """

    def __init__(self, rates: dict[str, float], seed: int, broken: frozenset[str] = frozenset()) -> None:
        super().__init__(rates, seed)
        self.broken = broken
        self.history: list[Written] = []
        self.rejected: list[Rejected] = []
        self.actor = OURS
        self.batch = 0  # the number of the last batch
        self.undecided = 0  # the length of the history when the first conflict was decided

    def write(self, kind: str, key: str, part_id: str = "", **arguments: Any) -> Any:
        with self.lock:
            self.actor, before = arguments.pop("actor", OURS), self.actor
            try:
                return super().write(kind, key, part_id, **arguments)
            finally:
                self.actor = before

    def write_all(self, writes: list[Any]) -> Any:
        with self.lock:
            self.batch += 1
            return super().write_all(writes)

    def check(self, write: Any) -> None:
        try:
            super().check(self._as_kept(write))
        except toy.RefusedError as refusal:
            known = self.parts.get(write.part_id)
            reference = write.reference or (known.reference if known is not None else "")
            self.rejected.append(
                Rejected(
                    refusal.status, write.part_id, reference, write.kind, write.expected, write.key, time.time()
                )
            )  # fmt: skip
            raise

    def check_reference(self, reference: str) -> None:
        if "references" not in self.broken:
            super().check_reference(reference)

    def apply(self, write: Any) -> Any:
        known, count = self.parts.get(write.part_id), len(self.log)
        before = dict(known.content) if known is not None else {}
        part = super().apply(self._as_kept(write))
        if len(self.log) > count:
            after = {} if part.deleted else part.content
            self.history.append(
                Written(
                    self.actor, part.id, part.reference or part.id, write.kind, before, dict(after), write.key,
                    self.batch, time.time(),
                )
            )  # fmt: skip
        return part

    def _as_kept(self, write: Any) -> Any:
        """Return a write without what the system only claims to honour, and with the values that it stores."""
        content = {name: tidy(value) for name, value in (write.content or {}).items()}
        edits = [(path, removed, tidy(value)) for path, removed, value in write.edits or ()]
        key = "" if "keys" in self.broken else write.key
        expected = None if "versions" in self.broken else write.expected
        return replace(write, key=key, expected=expected, content=content, edits=edits)

    def living(self) -> list[Any]:
        """Return the parts that are not deleted."""
        with self.lock:
            return [each for each in self.parts.values() if not each.deleted]

    def disturb(
        self, randomness: random.Random, token: str, fields: tuple[str, ...], newest: int, *, only_edits: bool = False
    ) -> None:
        """Edit one of the newest parts, or delete or create one, as another client of the system does."""
        with self.lock:
            living, chance = self.living()[-newest:], randomness.random()
            rates, self.rates = self.rates, {}
            try:
                if only_edits and not living:
                    return
                if not living or (chance < 0.05 and not only_edits):
                    self.write("create", "", content={fields[0]: token}, actor="other")
                elif chance < 0.07 and not only_edits:
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
    decided: set[tuple[str, str, str]] = field(default_factory=set)  # a person preferred the value of the system
    replaced: set[str] = field(default_factory=set)  # records that a person took from the system as a whole
    families: dict[str, str] = field(default_factory=dict)  # of records whose FAMILY_FIELDS each commit sets alike

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
        f"  there, {each.actor} {each.kind}: {each.before} -> {each.after} ({each.key}, batch {each.batch})"
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
    """Yield what breaks a law: lost, clobbered, reverted, doubled, overwritten unseen, torn, different at the end."""
    yield from _doubled(system, local)
    yield from _reverted(system, writes)
    yield from _reverted_here(writes, log)
    yield from _lost(system, writes, local)
    yield from _clobbered(system, writes, log)
    yield from _unseen(system, log)
    yield from _torn(system, writes)
    remote = {part.reference or part.id: part.content for part in system.living()}
    for record_id in sorted(remote.keys() | local.keys()):
        if remote.get(record_id) != local.get(record_id):
            yield f"different: {record_id} is {local.get(record_id)} here and {remote.get(record_id)} there"


def _doubled(system: RecordedSystem, local: Mapping[str, Any]) -> Iterator[str]:
    references = Counter(part.reference for part in system.living() if part.reference)
    for reference in sorted(each for each, count in references.items() if count > 1):
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
        is_reverted = each.is_pull and old is not None and new is not None and new < old
        is_decided = each.record_id in writes.replaced or (each.record_id, each.name, str(each.old)) in writes.decided
        if is_reverted and not is_decided:
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
        is_decided = (record_id, name, last) in writes.decided
        if record_id in gone or last in arrived[record_id, name] or final in writes.unknown or is_decided:
            continue
        yield f"lost: {record_id} {name} {last}, it is {final!r}"
    for record_id in writes.created - gone:
        if record_id not in local:
            yield f"lost: the record {record_id}"


def _clobbered(system: RecordedSystem, writes: LocalWrites, log: list[LoggedValue]) -> Iterator[str]:
    arrived = {(each.record_id, name, str(value)) for each in system.history for name, value in each.after.items()}
    arrived |= writes.decided
    for each in log:
        ours = str(each.old) in writes.order.get((each.record_id, each.name), {})
        ours = ours and each.record_id not in writes.replaced
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


def _torn(system: RecordedSystem, writes: LocalWrites) -> Iterator[str]:
    """Yield the batches after which the system had a part of a commit, unless others deleted a record of it."""
    members: dict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    left_out = {writes.families.get(each.record_id) for each in system.history if each.kind == "delete"}
    for index, each in enumerate(system.history):
        family = writes.families.get(each.record_id)
        if family is None or family in left_out:
            continue
        members[family][each.record_id] = each.after
        following = system.history[index + 1 : index + 2]
        if each.actor != OURS or any(after.batch == each.batch for after in following):
            continue
        for name in FAMILY_FIELDS:
            values = {str(content.get(name)) for content in members[family].values()}
            if len(values) > 1 or len(members[family]) < FAMILY_SIZE:
                yield f"torn: {family} has {name} {sorted(values)} in {len(members[family])} records"
