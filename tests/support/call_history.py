"""Compare the responses that callers received with what is stored: no write lost, repeated or partial.

Every call has an id that its changes carry as their `change_reason`, and an effect on records that can be told from
it. So the log says of each call what it wrote, and the contents follow from the log.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import asyncpg

Content = dict[str, Any]


class End(Enum):
    """The end of a call for its caller."""

    DONE = auto()
    REFUSED = auto()  # the error said that nothing was changed
    UNKNOWN = auto()


@dataclass(slots=True)
class Call:
    """One call with all its attempts; times are of time.monotonic."""

    call_id: str
    effects: Mapping[str, Callable[[Content, str], Content]]  # by record: what it makes of a content, with its id
    started: float
    ended: float = math.inf
    end: End = End.UNKNOWN
    versions: Mapping[str, int] | None = None  # as answered; None where the answer tells none


@dataclass(frozen=True, slots=True)
class Written:
    """A change in the log."""

    record_id: str
    version: int
    call_id: str
    place: tuple[int, int]  # in the order of the log


@dataclass(frozen=True)
class Stored:
    """The stored data of one tenant: versions and contents of its records, and its log by record and version."""

    records: Mapping[str, tuple[int, Content]]
    log: Sequence[Written]

    @classmethod
    async def read(cls, url: str, tenant_id: str) -> Stored:
        connection = await asyncpg.connect(url)
        try:
            records = await connection.fetch(
                "SELECT record_id, version, content FROM draftline.record WHERE tenant_id = $1", tenant_id
            )
            log = await connection.fetch(
                """SELECT record_id, version, change_reason, log_xact, change_id FROM draftline.change
                WHERE tenant_id = $1 AND kind <> 'DRAFT' ORDER BY record_id, version""",
                tenant_id,
            )
        finally:
            await connection.close()
        return cls(
            {record_id: (version, json.loads(content)) for record_id, version, content in records},
            [Written(record_id, version, call_id, (xact, number)) for record_id, version, call_id, xact, number in log],
        )


@dataclass
class History:
    """All calls of one tenant, and when they were acknowledged."""

    calls: dict[str, Call] = field(default_factory=dict)
    surprises: list[str] = field(default_factory=list)  # answers that no call may get
    acknowledged: list[float] = field(default_factory=list)  # times, in order
    refusals: Counter[str] = field(default_factory=Counter)  # codes of attempts

    def begin(self, call: Call) -> None:
        self.calls[call.call_id] = call

    def close(self, call: Call, end: End, versions: Mapping[str, int] | None, moment: float) -> None:
        call.end, call.versions, call.ended = end, versions, moment
        if end is End.DONE:
            self.acknowledged.append(moment)

    def count(self, end: End) -> int:
        return sum(call.end is end for call in self.calls.values())

    def problems(self, stored: Stored) -> list[str]:
        """Return the inconsistencies; empty if there are none."""
        by_call: dict[str, list[Written]] = defaultdict(list)
        by_record: dict[str, list[Written]] = defaultdict(list)
        for written in stored.log:
            by_call[written.call_id].append(written)
            by_record[written.record_id].append(written)
        found = list(self.surprises)
        found += [f"{call_id} was made by nobody" for call_id in by_call.keys() - self.calls.keys()]
        for call in self.calls.values():
            found += _problems_of_call(call, by_call.get(call.call_id, []))
        found += [f"{record_id} has no log" for record_id in stored.records.keys() - by_record.keys()]
        for record_id, log in by_record.items():
            found += self._problems_of_record(record_id, log, stored.records.get(record_id))
        return found

    def _problems_of_record(
        self, record_id: str, log: Sequence[Written], stored: tuple[int, Content] | None
    ) -> Iterable[str]:
        if stored is None:
            yield f"{record_id} is gone"
            return
        version, content = stored
        if [written.version for written in log] != list(range(1, version + 1)):
            yield f"{record_id} is at version {version}, and its log has {[written.version for written in log]}"
        if [written.place for written in log] != sorted(written.place for written in log):
            yield f"the log of {record_id} is not in the order of its versions"
        calls = [self.calls[written.call_id] for written in log if written.call_id in self.calls]
        expected: Content = {}
        for call in calls:
            expected = call.effects[record_id](expected, call.call_id)
        if content != expected:
            yield f"{record_id} is {content}, and its log makes {expected}"
        # A call that began after another was over has the higher version.
        earliest_end = math.inf
        for call in reversed(calls):
            if earliest_end < call.started:
                yield f"{record_id}: {call.call_id} began after a later version was acknowledged"
            earliest_end = min(earliest_end, call.ended if call.end is End.DONE else math.inf)


def _problems_of_call(call: Call, written: Sequence[Written]) -> Iterable[str]:
    versions = {each.record_id: each.version for each in written}
    if len(versions) < len(written):
        yield f"{call.call_id} was done more than once: {written}"
    if written and versions.keys() != call.effects.keys():
        yield f"{call.call_id} was torn: it wrote {versions.keys()} of {call.effects.keys()}"
    if call.end is End.DONE and not written:
        yield f"{call.call_id} was acknowledged and lost"
    if call.end is End.REFUSED and written:
        yield f"{call.call_id} was refused, and done"
    if call.end is End.DONE and call.versions is not None and dict(call.versions) != versions:
        yield f"{call.call_id} was answered {call.versions}, and wrote {versions}"
