"""Push: which records are due, the attempts to write them, and the outcomes.

Invariants:
- An attempt is stored before it is sent, and repeated with the same key and contents until its outcome is known.
- An outcome changes only the attempt that it belongs to, whichever worker stores it, and however late.
- What is sent is computed from the record when it is prepared: a record that changes often is sent once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import uuid_utils

from ...domain.sync import Attempt, BoundCollection, Op, Settlement, new_record_id
from ..change_log.feed import MAX_ID
from ..database import Database
from ..statements import load
from ..transaction import Transaction
from .specs import fields_json

SQL = load("sync_push")
LOCKS = load("sync_merge")
LOG = load("sync_log")
SWEPT = 5_000  # records that one statement of a sweep compares
LOG_ROWS = 2_000  # changes that one statement reads


class Attempts:
    """The attempts of one tenant's sync."""

    def __init__(self, database: Database, tenant_id: str, upstream: str) -> None:
        self._database = database
        self.tenant_id = tenant_id
        self.upstream = upstream

    def _values(self, collection: str = "", **others: object) -> dict[str, object]:
        return {"tenant_id": self.tenant_id, "collection": collection, **others}

    async def mark_changed(
        self, collections: Collection[str], position: tuple[int, int]
    ) -> tuple[tuple[int, int], bool, int]:
        """Mark the records that the change log names after a position.

        Return the position to continue at, whether more can be read now, and how many records were marked. Once all
        was read, the position is at the end of what is complete, so that changes by pulls are not passed over again.
        """
        values = self._values(log_xact=position[0], change_id=position[1])
        # Before the changes are read: what is committed in between is not passed over.
        ahead = (await self._database.fetch(LOG["log_ahead"], values, idempotent=True))[0]
        if not ahead["has_entries"]:
            return position, False, 0
        values |= {"collections": list(collections), "limit": LOG_ROWS}
        rows = await self._database.fetch(SQL["changed_records"], values, idempotent=True)
        changed: dict[str, set[str]] = {}
        for row in rows:
            changed.setdefault(row["collection"], set()).add(row["record_id"])
        marked = 0
        for collection, record_ids in changed.items():
            marked += await self.mark(collection, record_ids)
        settled = [row for row in rows if row["log_xact"] < row["horizon"]]
        if settled:
            position = settled[-1]["log_xact"], settled[-1]["change_id"]
        if len(rows) < LOG_ROWS:
            position = max(position, (ahead["horizon"] - 1, MAX_ID))
        return position, len(rows) == LOG_ROWS and bool(settled), marked

    async def mark(self, collection: str, record_ids: Collection[str]) -> int:
        """Mark those records due that differ from what the upstream is known to hold. Return how many were marked."""
        now = await self._database.now()
        values = self._values(collection, record_ids=sorted(record_ids), now=now)
        return int((await self._database.fetch(SQL["mark_due"], values, idempotent=True))[0]["marked"])

    async def sweep(self, collection: str) -> int:
        """Compare every record of a collection, and mark those that are due. Return how many were marked."""
        marked = 0
        for name in ("records_behind", "purged_records"):
            after = ""
            while True:
                values = self._values(collection, after=after, limit=SWEPT)
                rows = await self._database.fetch(SQL[name], values, idempotent=True)
                if behind := [row["record_id"] for row in rows if row["is_behind"]]:
                    marked += await self.mark(collection, behind)
                if len(rows) < SWEPT:
                    break
                after = rows[-1]["record_id"]
        return marked

    async def due(self, collection: str, limit: int, *, rechecks: bool = False) -> Sequence[tuple[str, str | None]]:
        """Return the record ids and remote ids of records that are due to be sent, or to be read at the upstream."""
        now = await self._database.now()
        values = self._values(collection, now=now, limit=limit, rechecks=rechecks)
        rows = await self._database.fetch(SQL["due_records"], values, idempotent=True)
        return [(row["record_id"], row["remote_id"]) for row in rows]

    async def next_due(self, collections: Collection[str]) -> datetime | None:
        values = self._values(collections=list(collections))
        due: datetime | None = (await self._database.fetch(SQL["next_due"], values, idempotent=True))[0]["next_at"]
        return due

    async def prepare(
        self, bound: BoundCollection, record_ids: Collection[str], repeat_after_s: float
    ) -> Sequence[Attempt]:
        """Store the attempts for records that are due, and return them.

        An attempt whose outcome is not stored within `repeat_after_s` is due again.
        """

        async def work(transaction: Transaction) -> Sequence[Attempt]:
            await lock(transaction, self.tenant_id, bound.collection, record_ids)
            now = await transaction.now()
            values = self._values(
                bound.collection, upstream=self.upstream, record_ids=sorted(record_ids),
                fields=fields_json(bound.fields), now=now,
                attempt_ids=[_new_id(now) for _ in record_ids],
                repeat_at=now + timedelta(seconds=repeat_after_s),
            )  # fmt: skip
            rows = await transaction.fetch(SQL["prepare"], values)
            return [
                Attempt(
                    row["record_id"], str(row["attempt_id"]), Op(row["op"]), row["remote_id"] or "", row["if_match"],
                    row["sent"], row["base"], row["in_doubt"], row["tries"], row["commit_id"] or "",
                    row["user_id"] or "", _age_s(row["attempt_id"], now),
                )
                for row in rows
                if row["attempt_id"] is not None
            ]  # fmt: skip

        return await self._database.transact(work)

    async def drop_rechecks(self, collection: str, record_ids: Collection[str]) -> None:
        """Give up reading those records at the upstream of which no remote id is known."""
        values = self._values(collection, record_ids=sorted(record_ids), now=await self._database.now())
        await self._database.fetch(SQL["drop_rechecks"], values, idempotent=True)

    async def hurry(self, collection: str) -> int:
        """Make everything due that waits until the upstream can be reached. Return how many records those are."""
        values = self._values(collection, now=await self._database.now())
        return int((await self._database.fetch(SQL["hurry"], values, idempotent=True))[0]["hurried"])

    async def take_over(self, collection: str) -> int:
        """Make the attempts due that an earlier worker left. Return how many there were."""
        values = self._values(collection, now=await self._database.now())
        return int((await self._database.fetch(SQL["take_over"], values, idempotent=True))[0]["taken"])

    async def settle(
        self,
        transaction: Transaction,
        collection: str,
        settlements: Collection[Settlement],
        *,
        is_versioned: bool = False,
    ) -> tuple[dict[str, str], int]:
        """Store outcomes. Return the effect that each had, by record id, and a mark of when they were known.

        An outcome that came too late has no effect. `is_versioned`: the upstream has versions of records.
        """
        ordered = sorted(settlements, key=lambda each: each.record_id)
        await lock(transaction, self.tenant_id, collection, [each.record_id for each in ordered])
        values = self._values(
            collection,
            is_versioned=is_versioned,
            upstream=self.upstream,
            now=await transaction.now(),
            record_ids=[each.record_id for each in ordered],
            attempt_ids=[each.attempt_id for each in ordered],
            outcomes=[str(each.effect) for each in ordered],
            remote_ids=[each.remote_id for each in ordered],
            remote_versions=[each.remote_version for each in ordered],
            errors=[each.error for each in ordered],
            next_ats=[each.next_at for each in ordered],
        )
        rows = await transaction.fetch(SQL["settle"], values)
        gone = [row["gone_id"] for row in rows if row["gone_id"] not in (None, row["record_id"])]
        await keep_gone(transaction, self.tenant_id, collection, gone, rows[0]["mark"] if rows else 0)
        return {row["record_id"]: row["effect"] for row in rows}, rows[0]["mark"] if rows else 0


async def lock(transaction: Transaction, tenant_id: str, collection: str, record_ids: Collection[str]) -> None:
    """Lock records, and then what is known of them upstream. A later statement reads what others wrote until then."""
    values: dict[str, object] = {
        "tenant_id": tenant_id,
        "collection": collection,
        "record_ids": sorted(record_ids),
    }
    await transaction.fetch(LOCKS["lock_records"], values)
    await transaction.fetch(LOCKS["lock_states"], values)


async def keep_gone(
    transaction: Transaction, tenant_id: str, collection: str, remote_ids: Collection[str], mark: int
) -> None:
    """Remember that the upstream does not hold these ids, for reads that began before `mark`."""
    if remote_ids:
        values: dict[str, object] = {
            "tenant_id": tenant_id, "collection": collection, "mark": mark,
            "record_ids": sorted({new_record_id(each, each) for each in remote_ids}),
        }  # fmt: skip
        await transaction.fetch(LOCKS["keep_gone"], values)


def _new_id(now: datetime) -> str:
    """Return the id of an attempt. It holds the time by the database's clock, which all workers share."""
    return str(uuid_utils.uuid7(nanoseconds=int(now.timestamp()) * 10**9 + now.microsecond * 1000))


def _age_s(attempt_id: object, now: datetime) -> float:
    return now.timestamp() - uuid_utils.UUID(str(attempt_id)).timestamp / 1000
