"""Patches that are merged in SQL, inside the UPDATE: one statement for any number of patches."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import asyncpg
import msgspec

from ..domain.changes import Write
from ..domain.collections import CollectionSpec
from ..domain.content import Limits
from ..domain.edits import Operation, Strategy
from ..domain.records import Delta, Operations, Patch, PatchResult, Record
from ..domain.values import value_class
from .collections.cache import CollectionSpecs
from .database import Database
from .edited import where_of
from .record_errors import condition_json, error_of, not_found
from .record_rows import limit_values
from .relations.references import Key
from .statements import load
from .transaction import Transaction

SQL = load("content")
# By whether they wait for records that are locked. All have one name, that of what they do.
PLAIN = {False: load("plain_patches")["patch_content"], True: load("plain_batches")["patch_content"]}
LEAN = {False: load("lean_patches")["patch_content"], True: load("lean_batches")["patch_content"]}
FOLDED = load("folded_patches")["patch_content"]

_encode = msgspec.json.Encoder(decimal_format="number").encode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@value_class
class PatchEntry:
    """One patch as an argument of the statement: `values` holds its element of each of ARRAYS.

    `is_plain`: the statement for plain patches may apply it; see plain_patches.sql. `fields`: the top-level fields that
    it changes, if the one for lean patches may; see lean_patches.sql. `folds`: it may share a statement with other
    patches of its record; see folded_patches.sql.
    """

    write: Write
    patch: Patch
    values: tuple[object, ...]
    is_plain: bool
    folds: bool
    fields: Collection[str] | None = None

    @property
    def key(self) -> Key:
        return self.patch.collection, self.patch.record_id

    @property
    def lane(self) -> tuple[object, object]:
        """Return the collection and the version of its spec, which patches of one lean statement share."""
        return self.values[0], self.values[7]


@value_class
class Terms:
    """The terms on which patches share a statement; see patch_content.

    `lock_timeout_ms`: how long a statement that does not wait for rows may wait for other locks. `max_cost`: bytes of
    content times the steps of a patch. `plain`: use the statement for plain patches, which returns no row for those
    that it leaves to the general one. `folded`: all patches are of one record; the statement decides all or none.
    `is_locked`: the transaction has locked the records before.
    """

    waits: bool
    is_locked: bool = False
    plain: bool = False
    folded: bool = False
    creates: bool = True
    lock_timeout_ms: int = 25
    max_cost: int = 256 * 1024
    max_drafts: int = 8

    @property
    def leaves(self) -> bool:
        """Return whether a patch without a row is left to another statement."""
        return self.plain or self.folded


WAITING = Terms(waits=True)  # for one patch, or for those of one call
WAITING_PLAIN = Terms(waits=True, plain=True, max_cost=2**62)
LOCKED = Terms(waits=True, is_locked=True)
MAX_SHORT_STEPS = 8  # passes over the content

ARRAYS = (
    "collections", "record_ids", "kinds", "edits", "depths", "expected_versions", "conditions", "definition_versions",
    "allow_missings", "sets_parents", "parent_ids", "positions",
    "user_ids", "change_reasons", "request_ids", "fingerprints", "weights",
)  # fmt: skip
EDIT, CONDITION = ARRAYS.index("edits"), ARRAYS.index("conditions")


class InPlacePatches:
    """A PatchApplier that merges in SQL, inside the UPDATE."""

    def __init__(self, specs: CollectionSpecs, limits: Limits) -> None:
        self._specs = specs
        self._limits = limit_values(limits)
        self._max_depth = limits.max_depth

    async def apply(
        self, runner: Database | Transaction, write: Write, patches: Sequence[Patch], *, stores_responses: bool,
        locked: Collection[Key] | None = None,
    ) -> Sequence[PatchResult]:  # fmt: skip
        """Apply the patches; see PatchApplier."""
        entries = [self.entry(write, patch, stores_responses=stores_responses) for patch in patches]
        present = [entry for entry in entries if locked is None or entry.patch.allow_missing or entry.key in locked]
        found = await self._plain_rows_first(runner, present, is_locked=locked is not None) if present else []
        rows = dict(zip(map(id, present), found, strict=True))
        return [result_of(entry, rows.get(id(entry))) for entry in entries]

    async def _plain_rows_first(
        self, runner: Database | Transaction, entries: Sequence[PatchEntry], *, is_locked: bool
    ) -> Sequence[asyncpg.Record | None]:
        """Return the rows of patches, by the statement for plain patches where that is possible.

        If all of them are plain, the first statement locks all records, in order; so two calls cannot deadlock. Several
        patches outside a transaction share one statement, because they are applied together.
        """
        is_atomic = isinstance(runner, Transaction) or len(entries) == 1
        if not is_atomic or not all(entry.is_plain for entry in entries):
            return await self.rows(runner, entries, LOCKED if is_locked else WAITING)
        rows = list(await self.rows(runner, entries, WAITING_PLAIN))
        left = [index for index, row in enumerate(rows) if row is None]
        if left:
            others = await self.rows(runner, [entries[index] for index in left])
            for index, row in zip(left, others, strict=True):
                rows[index] = row
        return rows

    def entry(self, write: Write, patch: Patch, *, stores_responses: bool) -> PatchEntry:
        """Build the statement's argument for a patch.

        Raises InvalidFilterError if the condition does not fit the collection's spec.
        """
        actor, request = write.actor, write.actor.request
        spec = self._specs.known(actor.tenant_id, patch.collection)
        values = (
            patch.collection,
            patch.record_id,
            *edit_of(patch.change),
            patch.expected_version,
            condition_json(patch.condition, spec),
            spec.version,
            patch.allow_missing,
            patch.parent_id is not None,
            patch.parent_id or None,
            patch.position,
            actor.user_id,
            write.change_reason,
            write.request_id,
            request.fingerprint if stores_responses and request else None,
            steps_of(patch.change),
        )
        folds = self._is_short(patch)
        is_plain = folds and not patch.allow_missing and patch.condition is None
        fields = _lean_fields(patch.change, spec) if is_plain else None
        return PatchEntry(write, patch, values, is_plain, folds, fields)

    def _is_short(self, patch: Patch) -> bool:
        """Return whether a patch only changes the content, in few steps, and by values of little depth."""
        if patch.parent_id is not None or patch.position is not None:
            return False
        if isinstance(patch.change, Delta):
            # A merge is no deeper than its parts. Counting brackets may find too many, and never too few.
            return patch.change.json.count("{") + patch.change.json.count("[") <= self._max_depth
        return patch.change is not None and steps_of(patch.change) <= MAX_SHORT_STEPS

    async def rows(
        self, runner: Database | Transaction, entries: Sequence[PatchEntry], terms: Terms = WAITING
    ) -> Sequence[asyncpg.Record | None]:
        """Apply patches of different records of one tenant in one statement, and return the row of each."""
        write = entries[0].write
        values: dict[str, object] = {
            "tenant_id": write.actor.tenant_id,
            # Patches of several calls that share a statement are dated when it is sent, after they waited for it.
            "now": await runner.now() if isinstance(runner, Database) else write.now,
            "source": write.source,
            "commit_id": write.commit_id or None,
            "waits": terms.waits,
            "is_locked": terms.is_locked,
            "creates": terms.creates,
            "lock_timeout": f"{terms.lock_timeout_ms}ms",
            "max_cost": terms.max_cost,
            "max_drafts": terms.max_drafts,
            **dict(zip(ARRAYS, zip(*(entry.values for entry in entries), strict=True), strict=True)),
            **self._limits,
        }
        statement = PLAIN[terms.waits] if terms.plain else FOLDED if terms.folded else SQL["patch_content"]
        if terms.plain and (lean := _lean_values(entries)):
            statement = LEAN[terms.waits]
            values |= lean
        if isinstance(runner, Database):
            idempotent = all(entry.write.actor.request is not None for entry in entries)
            fetched = await runner.fetch(statement, values, idempotent=idempotent)
        else:
            fetched = await runner.fetch(statement, values)
        rows: dict[int, asyncpg.Record] = {row[0]: row for row in fetched}
        return [rows.get(index) for index in range(1, len(entries) + 1)]


def _lean_fields(change: Delta | Operations | None, spec: CollectionSpec) -> Collection[str] | None:
    """Return the top-level fields of a change that the statement for lean patches may apply; None: it may not."""
    if not isinstance(change, Delta) or change.strategy is not Strategy.SHALLOW:
        return None
    fields = _decode_fields(change.json).keys()
    return fields if spec.read_fields.isdisjoint(fields) else None


def _lean_values(entries: Sequence[PatchEntry]) -> dict[str, object] | None:
    """Return the values that the statement for lean patches has in addition; None: some of them are not lean."""
    fields: set[str] = set()
    for entry in entries:
        if entry.fields is None or entry.lane != entries[0].lane:
            return None
        fields.update(entry.fields)
    collection, definition_version = entries[0].lane
    return {"collection": collection, "definition_version": definition_version, "fields": list(fields)}


def result_of(entry: PatchEntry, row: asyncpg.Record | None) -> PatchResult:
    """Build the result of a patch from its row.

    Raises StaleCollectionSpecError, RacedError or LeftAloneError if nothing was done for it.
    """
    patch = entry.patch
    if row is None:
        return PatchResult(error=not_found(patch.collection, patch.record_id))
    if row["failure"] is not None:
        return PatchResult(error=error_of(row["failure"], patch.collection, patch.record_id, where_of(patch)))
    _, _, content, version, parent_id, position, created_at, created_by, updated_at, updated_by, changed, changes = row
    record = Record(
        patch.collection, patch.record_id, content, version, parent_id, position,
        created_at, created_by, updated_at, updated_by, None,
    )  # fmt: skip
    return PatchResult(record, sorted(changed), written=changes)


def edit_of(change: Delta | Operations | None) -> tuple[str, str | None, int]:
    """Return a change as `draftline.edit` takes it: kind, edit as JSON, and depth."""
    match change:
        case Delta(json, strategy, depth):
            return strategy, json, depth
        case Operations(steps):
            return "OPERATIONS", _encode([step_json(step) for step in steps]).decode(), 0
        case None:
            return "NONE", None, 0


def steps_of(change: Delta | Operations | None) -> int:
    """Return how many passes over the content a change makes: one, or one per operation (per element of a list)."""
    if not isinstance(change, Operations):
        return 1
    return max(1, sum(len(step.value) if isinstance(step.value, list) else 1 for step in change.steps))


def size_of(entry: PatchEntry) -> int:
    """Return the number of characters of a patch's change and condition, as they are sent."""
    return sum(len(text) for text in (entry.values[EDIT], entry.values[CONDITION]) if isinstance(text, str))


def step_json(step: Operation) -> dict[str, object]:
    return {"op": step.op, "path": step.path, "from": step.source, "value": step.value}
