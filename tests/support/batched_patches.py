"""Patches that are batched into shared statements, and their results."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from draftline_server.background.patch_batcher import PatchBatcher
from draftline_server.domain.content import Limits
from draftline_server.domain.edits import Operation
from draftline_server.domain.errors import DraftlineError
from draftline_server.domain.records import Actor, Operations, Patch, PatchResult, Request
from draftline_server.store.collections.cache import CollectionSpecs
from draftline_server.store.database import Database
from draftline_server.store.in_place_patches import WAITING, InPlacePatches, PatchEntry, Terms
from draftline_server.store.patches import PatchStore
from draftline_server.store.statements import Statement

from support.edit_strategies import decode
from support.tenant_stores import SCHEMAS

STORED = Statement(
    "stored",
    """
    SELECT collection, record_id, content::text AS content, version, parent_id, position, created_by, updated_by,
        updated_at > created_at AS touched, deleted_at IS NOT NULL AS deleted
    FROM draftline.record WHERE tenant_id = $1 ORDER BY collection, record_id
    """,
    ("tenant_id",),
)
CONDITIONS = ["a = 1", "a:*", "NOT b:*", 'c = "a"', "record.version < 3", "record.parent_id = p", "a < 1"]

_tenants = itertools.count()


class Watched(InPlacePatches):
    """A patch store that counts batches; `before` is called with each batch and may raise."""

    def __init__(self, database: Database) -> None:
        super().__init__(CollectionSpecs(database, SCHEMAS), Limits())
        self.groups: list[list[str]] = []
        self.before: Any = None

    async def rows(self, runner: Any, entries: Sequence[PatchEntry], terms: Terms = WAITING) -> Any:
        self.groups.append([entry.patch.record_id for entry in entries])
        if self.before is not None:
            await self.before(entries)
        return await super().rows(runner, entries, terms)


class Grouped:
    """The patches of one tenant, batched or one at a time."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.actor = Actor(f"grouped-{next(_tenants)}", "ada")
        self.applier = Watched(database)
        self.groups = PatchBatcher(self.applier)
        self.store = PatchStore(database, CollectionSpecs(database, SCHEMAS), self.groups)

    async def patch(self, patch: Patch, request: Request | None = None) -> PatchResult:
        actor = replace(self.actor, request=request)
        return await self.store.patch(actor, patch, change_reason="", validate_only=False)

    async def told(self, patch: Patch) -> Any:
        try:
            return told(await self.patch(patch))
        except DraftlineError as error:
            return told(PatchResult(error=error))

    async def stored(self) -> list[dict[str, Any]]:
        rows = await self.database.fetch(STORED, {"tenant_id": self.actor.tenant_id})
        return [{**row, "content": decode(row["content"])} for row in rows]

    async def number(self, record_id: str) -> int:
        (content,) = [row["content"] for row in await self.stored() if row["record_id"] == record_id]
        number: int = content["n"]
        return number


def counting(record_id: str, **rest: Any) -> Patch:
    return Patch("films", record_id, Operations([Operation("increment", ("n",), value=1)]), allow_missing=True, **rest)


def told(result: PatchResult) -> dict[str, Any]:
    if result.error is not None:
        error = result.error
        return {
            "reason": error.reason,
            "message": error.message,
            "metadata": dict(error.metadata),
            "fields": [list(field) for field in error.fields],
        }
    record = result.record
    assert record is not None
    return {
        "record": [record.collection, record.record_id, record.version, record.parent_id, record.position],
        "users": [record.created_by, record.updated_by],
        "touched": record.updated_at > record.created_at,
        "deleted": record.deleted_at is not None,
        "content": decode(record.content),
        "changed_fields": list(result.changed_fields),
    }
