"""The integrity of references: checks of relations that are declared with CHECK.

A store that writes calls `lock_named` before the write, in whose transaction the check is, and `problems` after it; one
that has locked the records by then calls `read_named` instead. It calls none of them for collections that have no
checked relations, and to which none leads. The specs that decide this may be out of date: writes of another version of
their own spec are refused as stale, and so are deletions by statements whose `is_guarded` is false where a checked
relation leads to the collection.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import TypeVar

import asyncpg
import msgspec

from ...domain.edits import Strategy, format_pointer
from ...domain.errors import DraftlineError, RecordReferencedError, ReferenceNotFoundError
from ...domain.records import Delta, Operations, Patch
from ...domain.relations import MAX_NAMED
from ...domain.values import value_class
from ..advisory_locks import LockFamily
from ..collections.cache import CollectionSpecs
from ..statements import load
from ..transaction import Transaction
from .ids import related_ids

SQL = load("references")

T = TypeVar("T")
Key = tuple[str, str]  # collection and record id
Named = Mapping[tuple[str, str, str], frozenset[str]]  # ids by collection, record id and relation
Problems = Mapping[Key, DraftlineError]

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@value_class
class Locked:
    """The records that a transaction has locked, and the ids that they name by checked relations."""

    named: Named
    keys: frozenset[Key]


class _RefusedError(Exception):
    """Some of the records that were written since the savepoint are refused."""


class ReferenceChecks:
    """Checks the references of writes."""

    def __init__(self, specs: CollectionSpecs) -> None:
        self._specs = specs

    def has_checks(self, tenant_id: str, collection: str) -> bool:
        """Return whether the collection has checked relations, or is one that they lead to."""
        return bool(self._fields(tenant_id, collection)) or self.guards(tenant_id, collection)

    def guards(self, tenant_id: str, collection: str) -> bool:
        """Return whether deletions in the collection have to be checked."""
        return self._specs.known(tenant_id, collection).is_referred_to

    def names_any(self, tenant_id: str, collection: str, content: str) -> bool:
        """Return whether a content names records by checked relations."""
        relations = self._specs.known(tenant_id, collection).checked_relations()
        return any(related_ids(content.encode(), each.path) for each in relations)

    def touches(self, tenant_id: str, patch: Patch) -> bool:
        """Return whether a patch may change what its record names by checked relations."""
        fields = self._fields(tenant_id, patch.collection)
        if not fields:
            return False
        if isinstance(patch.change, Delta):
            return patch.change.strategy is Strategy.REPLACE or not fields.isdisjoint(_object(patch.change.json))
        if isinstance(patch.change, Operations):
            paths = [path for step in patch.change.steps for path in (step.path, step.source)]
            roots = any(
                not step.path or (not step.source and step.op in ("move", "copy")) for step in patch.change.steps
            )
            return roots or any(path[:1] and path[0] in fields for path in paths)
        return False

    def _fields(self, tenant_id: str, collection: str) -> frozenset[str]:
        return self._specs.known(tenant_id, collection).checked_fields

    async def lock_named(self, transaction: Transaction, tenant_id: str, keys: Collection[Key]) -> Locked:
        """Lock records before a write, in primary-key order, and return the ids that they name by checked relations."""
        rows = await transaction.fetch(SQL["lock_named"], {"tenant_id": tenant_id, **_arrays("", keys)})
        return Locked(_named(rows), frozenset((row["collection"], row["record_id"]) for row in rows))

    async def read_named(self, transaction: Transaction, tenant_id: str, keys: Collection[Key]) -> Named:
        """Return the ids that records name by checked relations. The transaction has locked those that exist.

        It must lock none that was created since: others may wait for its locks while they hold that record.
        """
        if not any(self._fields(tenant_id, collection) for collection, _ in keys):
            return {}
        return _named(await transaction.fetch(SQL["read_named"], {"tenant_id": tenant_id, **_arrays("", keys)}))

    async def problems(
        self,
        transaction: Transaction,
        tenant_id: str,
        before: Named,
        *,
        written: Collection[Key] = (),
        deleted: Collection[Key] = (),
    ) -> Problems:
        """Return, by record, the errors of what the transaction has written.

        A record of `written` must name no missing record that it did not name `before`; no live record may name one of
        `deleted`. The transaction must write nothing more that is to be checked.
        """
        written = [key for key in written if self._fields(tenant_id, key[0])]
        deleted = [key for key in deleted if self.guards(tenant_id, key[0])]
        if not written and not deleted:
            return {}
        values: dict[str, object] = {
            "tenant_id": tenant_id, **_arrays("", written), **_arrays("deleted_", deleted), "limit": MAX_NAMED + 1,
            "id_lock": LockFamily.REFERENCES,
        }  # fmt: skip
        await transaction.fetch(SQL["lock_references"], values)
        found: dict[Key, DraftlineError] = {}
        for row in await transaction.fetch(SQL["missing_records"], values) if written else ():
            key = row["collection"], row["record_id"]
            if row["id"] not in before.get((*key, row["name"]), ()):
                found.setdefault(key, missing(row, key[0]))
        for row in await transaction.fetch(SQL["referring_records"], values) if deleted else ():
            found.setdefault((row["collection"], row["record_id"]), referenced(row))
        return found


async def write_accepted(
    transaction: Transaction,
    write: Callable[[Problems], Awaitable[tuple[T, Problems]]],
    *,
    allow_partial: bool,
) -> tuple[T, Problems]:
    """Write all records but the refused ones, and return the result of `write` and the errors of these.

    `write` takes the errors of the records that it must leave out, and returns the errors of what it has written.
    This is then undone, and written again without them. Without `allow_partial`, raises the first error.
    """
    refused: dict[Key, DraftlineError] = {}
    while True:
        with suppress(_RefusedError):
            async with AsyncExitStack() as stack:
                if allow_partial:
                    await stack.enter_async_context(transaction.savepoint())
                result, problems = await write(refused)
                if not problems:
                    return result, refused
                if not allow_partial:
                    raise next(iter(problems.values()))
                refused |= problems
                raise _RefusedError


def missing(row: asyncpg.Record, collection: str) -> DraftlineError:
    """Return the error for a reference to a missing record."""
    pointer, record_id = format_pointer(row["path"]), row["record_id"]
    return ReferenceNotFoundError(
        f"record {record_id!r} names {row['id']!r} at {pointer}, which relation {row['name']!r} does not allow: "
        f"collection {row['target']!r} has no such record, or it is deleted",
        collection=collection,
        record_id=record_id,
        relation=row["name"],
        path=pointer,
        related_collection=row["target"],
        related_id=row["id"],
    )


def referenced(row: asyncpg.Record) -> DraftlineError:
    """Return the error for the deletion of a record that others name."""
    ids, source = row["record_ids"], row["referring_collection"]
    names = ", ".join(map(repr, ids[:MAX_NAMED])) + (" and more" if len(ids) > MAX_NAMED else "")
    return RecordReferencedError(
        f"record {row['record_id']!r} cannot be deleted: relation {row['name']!r} of collection {source!r} names it, "
        f"in {names}; delete or change these first",
        collection=row["collection"],
        record_id=row["record_id"],
        relation=row["name"],
        referring_collection=source,
        referring_ids=json.dumps(ids[:MAX_NAMED], ensure_ascii=False),
    )


def _named(rows: Sequence[asyncpg.Record]) -> Named:
    named = [row for row in rows if row["name"] is not None]
    return {(row["collection"], row["record_id"], row["name"]): frozenset(row["ids"]) for row in named}


def _arrays(prefix: str, keys: Collection[Key]) -> dict[str, object]:
    """Return keys as parallel arrays."""
    ids = "deleted_ids" if prefix else "record_ids"
    return {f"{prefix}collections": [key[0] for key in keys], ids: [key[1] for key in keys]}
