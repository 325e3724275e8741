"""Users who edit the same records concurrently, and a ledger of everything they did.

Every value is a tag that is written once: who wrote it, and a number. Every write that really
changes a record makes one version of it, and its answer tells which; only an import tells
none, so that the versions that nobody claims are those of imports.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import draftline
from draftline import AsyncClient, ConflictPolicy, DraftEdit, DraftKind, Patch, View

COLLECTION = "soak"
RECORDS = [f"r-{number:02}" for number in range(24)]
NEW_RECORDS = [f"x-{number:02}" for number in range(12)]
SHARED_KEYS = ["s0", "s1", "s2"]
NESTED = "o"

# Refusals that leave everything as it was. CONTENTION is none of them: it is for storms, and this is none.
EXPECTED = {
    "CONFLICT", "RECORD_NOT_FOUND", "RECORD_DELETED", "RECORD_EXISTS", "RECORD_NOT_DELETED", "DRAFT_NOT_FOUND",
    "DRAFT_DELETES_RECORD", "OVERLOADED",
}  # fmt: skip


@dataclass(frozen=True)
class Write:
    """The top-level values that one version of a record changed; None for a removed one."""

    values: dict[str, Any]
    is_deleted: bool


@dataclass
class Ledger:
    writes: dict[str, dict[int, Write]] = field(default_factory=lambda: defaultdict(dict))
    imports: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    public: set[str] = field(default_factory=set)  # tags that were sent to be written, before they were sent
    surprises: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def knows(self, record_id: str) -> bool:
        """Return whether a write of the record was acknowledged."""
        return record_id in self.writes or record_id in self.imports

    def note(self, record: draftline.Record, changed_fields: tuple[str, ...]) -> None:
        versions = self.writes[record.record_id]
        if record.version in versions:
            self.surprises.append(f"{record.record_id} version {record.version} was written twice")
        values = {key: record.content.get(key) for key in changed_fields}
        versions[record.version] = Write(values, record.delete_time is not None)


@dataclass
class Drafted:
    """The expected state of a user's draft: its kind, and the tags at the paths that it sets."""

    kind: DraftKind
    tags: dict[tuple[str, ...], str]

    def missing_in(self, content: dict[str, Any]) -> list[tuple[str, ...]]:
        return [path for path, tag in self.tags.items() if value_at(content, path) != tag]


def value_at(content: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def tags_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for member in value.values():
            yield from tags_in(member)
    elif value is not None:
        yield value


class User:
    """One user, who acts sequentially and knows all their drafts."""

    def __init__(self, name: str, client: AsyncClient, ledger: Ledger, seed: int) -> None:
        self.name = name
        self.drafts: dict[str, Drafted] = {}
        self.client = client
        self._ledger = ledger
        self._random = random.Random(f"{seed}-{name}")
        self._number = 0
        self._actions = {
            self.save: 30, self.commit: 14, self.list: 14, self.patch: 12, self.batch: 5, self.discard: 4,
            self.load: 4, self.delete: 3, self.undelete: 6,
        }  # fmt: skip

    async def act(self) -> None:
        """Do one action. An expected rejection must leave everything unchanged."""
        action = self._random.choices(list(self._actions), list(self._actions.values()))[0]
        try:
            await action()
            self._ledger.counts[action.__name__] += 1
        except draftline.DraftlineError as error:
            self._ledger.counts[f"{action.__name__} {error.reason}"] += 1
            if error.reason not in EXPECTED:
                self._ledger.surprises.append(f"{self.name} {action.__name__}: {error!r}")

    def _tag(self) -> str:
        self._number += 1
        return f"{self.name}:{self._number}"

    def _some(self, most: int, ids: list[str] = RECORDS) -> list[str]:
        return self._random.sample(ids, self._random.randint(1, most))

    def _expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self._ledger.surprises.append(f"{self.name}: {problem}")

    def _delta(self) -> dict[tuple[str, ...], str]:
        """Tags for a key of his own, one that others write too, and a place in an object that all share."""
        places: list[tuple[str, ...]] = [(self.name,), (self._random.choice(SHARED_KEYS),), (NESTED, self.name)]
        return {place: self._tag() for place in self._random.sample(places, self._random.randint(1, 3))}

    async def save(self) -> None:
        after: dict[str, Drafted | None] = {}
        edits = [self._edit(record_id, after) for record_id in self._some(4, RECORDS + NEW_RECORDS)]
        results = await self.client.save_drafts(
            COLLECTION, edits, session_id=self._random.choice(["", "s"]), move_to_session=True
        )
        for result, (record_id, drafted) in zip(results, after.items(), strict=True):
            if drafted is None:
                self.drafts.pop(record_id, None)
                self._expect(result.record is None, f"a draft of {record_id} is left")
                continue
            self.drafts[record_id] = drafted
            self._see(result.unwrap())

    def _edit(self, record_id: str, after: dict[str, Drafted | None]) -> DraftEdit:
        have, tags = self.drafts.get(record_id), self._delta()
        if self._random.random() < 0.1:
            is_gone = have is not None and have.kind is DraftKind.CREATE
            after[record_id] = None if is_gone else Drafted(DraftKind.DELETE, {})
            return DraftEdit(record_id, delete=True)
        if have is None and not self._ledger.knows(record_id):
            after[record_id] = Drafted(DraftKind.CREATE, tags)
            return DraftEdit(record_id, create=nested(tags))
        replace = have is not None and have.kind is not DraftKind.CREATE and self._random.random() < 0.2
        kept = {} if have is None or replace else have.tags
        kind = DraftKind.CHANGE if have is None or replace else have.kind
        after[record_id] = Drafted(kind, {**kept, **tags})
        return DraftEdit(record_id, nested(tags), strategy="deep", replace=replace)

    def _see(self, merged: draftline.MergedRecord | None, view: View = View.MERGED) -> None:
        """Compare what the service returns with what this user may see."""
        assert merged is not None
        drafted = self.drafts.get(merged.record_id)
        for tag in tags_in(merged.content):
            is_own = view is not View.BASELINE and drafted is not None and tag in drafted.tags.values()
            self._expect(is_own or tag in self._ledger.public, f"saw the draft {tag} in {merged.record_id}, {view}")
        self._expect(merged.modified_by in ("", self.name), f"saw a draft of {merged.modified_by}")
        if view is not View.BASELINE:
            self._expect((merged.draft_kind and merged.draft_kind.value) == (drafted and drafted.kind.value),
                         f"{merged.record_id} is {merged.draft_kind}, not {drafted}")  # fmt: skip
            if drafted is not None:
                missing = drafted.missing_in(merged.content)
                self._expect(not missing, f"{missing} of the draft of {merged.record_id} are not merged")

    async def list(self) -> None:
        view = self._random.choice(list(View))
        filter_ = self._random.choice(["", "record.state = DRAFT", f"{NESTED}:*", "s0:*", 'NOT s1 = "x"'])
        order_by = self._random.choice(["", "s0", "s1 desc, s2", "record.version desc", f"{NESTED}.{self.name}"])
        seen = []
        query: dict[str, Any] = {"filter": filter_, "order_by": order_by, "view": view}
        async for merged in self.client.get_merged(COLLECTION, page_size=10, **query):
            self._see(merged, view)
            seen.append(merged.record_id)
        # By other orders, a walk may skip what moves meanwhile.
        if view is View.DRAFTS_ONLY and not filter_ and not order_by:
            self._expect(seen == sorted(self.drafts), f"has drafts of {self.drafts.keys()}, and sees {seen}")

    async def commit(self) -> None:
        policy = self._random.choice(list(ConflictPolicy))
        mine = sorted(self.drafts)
        chosen = self._random.choice(
            [{"all": True}, {"session_id": "s"}, {"record_ids": mine[:2]} if mine else {"all": True}]
        )
        options: dict[str, Any] = {**chosen, "conflict_policy": policy, "allow_partial": self._random.random() < 0.5}
        if self._random.random() < 0.2:
            await self.client.commit(COLLECTION, validate_only=True, **options)
            return
        self._ledger.public.update(tag for drafted in self.drafts.values() for tag in drafted.tags.values())
        for result in await self.client.commit(COLLECTION, include_content=True, **options):
            if result.error is None:
                self._committed(result, self.drafts.pop(result.record_id), policy)
            elif result.error.reason not in EXPECTED:
                self._ledger.surprises.append(f"{self.name} commit of {result.record_id}: {result.error!r}")

    def _committed(self, result: draftline.CommitResult, drafted: Drafted, policy: ConflictPolicy) -> None:
        record = result.record
        assert record is not None
        if result.changed_fields or self._was_deleted_by(record, drafted):
            self._ledger.note(record, result.changed_fields)
        lost = drafted.missing_in(record.content)
        if policy is ConflictPolicy.KEEP_THEIRS and result.conflicts:
            theirs = [tuple(each.path.split("/")[1:]) for each in result.conflicts]
            lost = [path for path in lost if not any(path[: len(other)] == other for other in theirs)]
        self._expect(not lost, f"{lost} of the draft of {record.record_id} were not committed")

    def _was_deleted_by(self, record: draftline.Record, drafted: Drafted) -> bool:
        """Return whether this commit deleted the record, which may have been deleted before."""
        is_new = record.version not in self._ledger.writes.get(record.record_id, {})
        is_deleted = drafted.kind is DraftKind.DELETE and record.delete_time is not None
        return is_deleted and record.updated_by == self.name and is_new

    async def discard(self) -> None:
        dropped = await self.client.discard(COLLECTION, session_id="s")
        for each in dropped:
            self._expect(self.drafts.pop(each.record_id, None) is not None, f"discarded a draft of {each.record_id}")

    def _patch(self, record_id: str) -> Patch:
        tags = self._delta()
        self._ledger.public.update(tags.values())
        return Patch(record_id, nested(tags), strategy="deep", allow_missing=record_id in NEW_RECORDS)

    async def patch(self) -> None:
        patch = self._patch(self._random.choice(RECORDS + NEW_RECORDS))
        result = await self.client.patch_content(
            COLLECTION, patch.record_id, patch.delta, strategy="deep", allow_missing=patch.allow_missing
        )
        self._ledger.note(result.record, result.changed_fields)

    async def batch(self) -> None:
        patches = [self._patch(each) for each in self._some(5, RECORDS + NEW_RECORDS)]
        for result in await self.client.batch_patch_content(COLLECTION, patches):
            self._ledger.note(result.unwrap().record, result.unwrap().changed_fields)

    async def load(self) -> None:
        """Imports: the whole content of some records becomes one tag."""
        tag, ids = self._tag(), self._some(5, RECORDS + NEW_RECORDS)
        self._ledger.public.add(tag)
        await self.client.import_content(COLLECTION, [(each, {"import": tag}) for each in ids])
        for each in ids:
            self._ledger.imports[each].add(tag)

    async def delete(self) -> None:
        record = await self.client.delete_content(COLLECTION, self._random.choice(RECORDS))
        assert record is not None
        self._ledger.note(record, ())

    async def undelete(self) -> None:
        self._ledger.note(
            await self.client.undelete_content(COLLECTION, self._random.choice(RECORDS + NEW_RECORDS)), ()
        )


def nested(tags: dict[tuple[str, ...], str]) -> dict[str, Any]:
    """Return the object with these values at these paths of one or two keys."""
    content: dict[str, Any] = {}
    for path, tag in tags.items():
        holder = content if len(path) == 1 else content.setdefault(path[0], {})
        holder[path[-1]] = tag
    return content
