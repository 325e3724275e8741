"""Previews: what a push would send, computed as the worker does, without writing or sending anything."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from ...domain.errors import SyncNotFoundError
from ...domain.sync_records import PushPreview
from ..database import Database
from ..statements import load
from .attempts import SWEPT
from .progress import PulledCollection, PullProgress
from .specs import fields_json

SQL = load("sync_push")
EXAMPLES = 10  # record ids of each kind


class SyncPreviews:
    """Counts what the syncs of tenants would do."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def push(self, tenant_id: str, upstream: str) -> Sequence[PushPreview]:
        """Return what a push of all collections of a sync would do. Raises SyncNotFoundError."""
        work = await PullProgress(self._database, tenant_id, upstream).work()
        if work is None:
            raise SyncNotFoundError(f"there is no sync {upstream!r}", upstream=upstream)
        is_stopped = work.push_paused or work.is_suspended or not work.spec.push
        return [
            await self._of(tenant_id, upstream, each, is_stopped, work.spec.pull and each.snapshot_at is None)
            for each in work.collections
        ]

    async def _of(
        self, tenant_id: str, upstream: str, pulled: PulledCollection, is_stopped: bool, awaits_snapshot: bool
    ) -> PushPreview:
        bound = pulled.bound
        counts: Counter[str] = Counter()
        found: defaultdict[str, list[str]] = defaultdict(list)
        values: dict[str, object] = {
            "tenant_id": tenant_id, "upstream": upstream, "collection": bound.collection,
            "fields": fields_json(bound.fields),
        }  # fmt: skip
        for name in ("records_behind", "known_records"):
            after = ""
            while True:
                page = {**values, "after": after, "limit": SWEPT}
                rows = await self._database.fetch(SQL[name], page, idempotent=True)
                if behind := [row["record_id"] for row in rows if row["is_behind"]]:
                    given = {**values, "record_ids": behind, "limit": EXAMPLES}
                    for row in await self._database.fetch(SQL["preview"], given, idempotent=True):
                        counts[row["kind"]] += row["count"]
                        found[row["kind"]] += row["record_ids"]
                if len(rows) < SWEPT:
                    break
                after = rows[-1]["record_id"]
        examples = {kind: sorted(record_ids)[:EXAMPLES] for kind, record_ids in found.items()}
        return PushPreview(bound.collection, counts, examples, awaits_snapshot, is_stopped)
