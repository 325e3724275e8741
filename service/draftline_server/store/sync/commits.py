"""The records of commits, for a sync that sends the records of a commit in one batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...domain.values import value_class
from ..database import Database
from ..statements import load
from .attempts import Attempts

SQL = load("sync_commits")
EVENTS = load("sync_config")


@value_class
class WaitingCommit:
    """A commit, and those of its records in a collection that wait for the upstream.

    `is_large`: it changed more records of the collection than fit into one batch. `blocked`: those of the records of
    which a write for an earlier commit is out. `is_replaced`: a later commit changed a record of which a write for this
    one is out, and a record of this one of which none is.
    """

    commit_id: str
    record_ids: frozenset[str]
    is_large: bool
    blocked: frozenset[str]
    is_replaced: bool


class SyncCommits:
    """Reads the commits that one tenant's sync sends."""

    def __init__(self, database: Database, attempts: Attempts) -> None:
        self._database = database
        self._attempts = attempts

    async def waiting(self, collection: str, record_ids: Sequence[str], size: int) -> Sequence[WaitingCommit]:
        """Return the commits that changed the given records last, in their order. `size`: of a batch."""
        values: dict[str, object] = {
            "tenant_id": self._attempts.tenant_id, "collection": collection, "record_ids": list(record_ids),
            "size": size,
        }  # fmt: skip
        found: dict[tuple[str, bool, bool], dict[str, bool]] = {}
        for row in await self._database.fetch(SQL["members"], values, idempotent=True):
            commit = row["commit_id"], row["is_large"], row["is_replaced"]
            found.setdefault(commit, {})[row["record_id"]] = row["is_blocked"]
        return [
            WaitingCommit(
                commit_id,
                frozenset(members),
                is_large,
                frozenset(record_id for record_id, is_blocked in members.items() if is_blocked),
                is_replaced,
            )
            for (commit_id, is_large, is_replaced), members in found.items()
        ]

    async def hasten(self, collection: str, record_ids: Collection[str]) -> None:
        """Mark the records of commits that are due, and make those due that wait."""
        await self._attempts.mark(collection, record_ids)
        values: dict[str, object] = {
            "tenant_id": self._attempts.tenant_id, "collection": collection, "record_ids": sorted(record_ids),
            "now": await self._database.now(),
        }  # fmt: skip
        await self._database.fetch(SQL["hasten"], values, idempotent=True)

    async def report_split(self, collection: str, commit: WaitingCommit, size: int) -> None:
        """Add an event about a commit that does not fit into a batch."""
        values: dict[str, object] = {
            "tenant_id": self._attempts.tenant_id, "upstream": self._attempts.upstream, "collection": collection,
            "kind": "COMMIT_SPLIT", "reason": "BATCH_LIMIT", "now": await self._database.now(),
            "message": f"commit {commit.commit_id} changed more than {size} records, the largest batch of the "
            "upstream; they are sent in several batches",
        }  # fmt: skip
        await self._database.fetch(EVENTS["add_event"], values)
