"""The positions of a sync: how far the log and the upstream were read, and what stopped it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

from ...domain.sync import BoundCollection, SyncSpec
from ...domain.values import value_class
from ..database import Database
from ..statements import load
from ..transaction import Transaction
from .specs import collection_of, spec_of

SQL = load("sync_config")
LINKED = 5_000  # records that one statement reads
EVENT_RETENTION = timedelta(days=30)
GONE_INTERVAL = timedelta(days=1)  # longer than any read; see PullProgress.forget_gone


@value_class
class PulledCollection:
    """A collection of a sync, and how far it was pulled."""

    bound: BoundCollection
    cursor: str | None
    pulled_at: datetime | None
    snapshot_at: datetime | None
    requested: str
    allowed_deletions: int


@value_class
class SyncWork:
    """A sync, for its worker."""

    spec: SyncSpec
    version: int
    push_paused: bool
    pull_paused: bool
    is_suspended: bool
    position: tuple[int, int]
    swept_at: datetime | None
    mark: int  # the last one that was given out
    collections: Sequence[PulledCollection]


class PullProgress:
    """The stored progress of one tenant's sync."""

    def __init__(self, database: Database, tenant_id: str, upstream: str) -> None:
        self._database = database
        self.tenant_id = tenant_id
        self.upstream = upstream

    def _values(self, **others: object) -> dict[str, object]:
        return {"tenant_id": self.tenant_id, "upstream": self.upstream, **others}

    async def _run(self, name: str, **values: object) -> None:
        await self._database.fetch(SQL[name], self._values(**values), idempotent=True)

    async def work(self) -> SyncWork | None:
        """Return the sync; None if it does not exist any more."""
        rows = await self._database.fetch(SQL["work_of"], self._values(), idempotent=True)
        if not rows:
            return None
        row = rows[0]
        found = await self._database.fetch(SQL["collections_of"], self._values(), idempotent=True)
        collections = [
            PulledCollection(
                collection_of(each["collection"], each["config_text"]), each["cursor"], each["pulled_at"],
                each["snapshot_at"], each["requested"] or "", each["allowed_deletions"],
            )
            for each in found
        ]  # fmt: skip
        return SyncWork(
            spec_of(row["upstream"], row["endpoint"], row["config_text"], [each.bound for each in collections]),
            row["version"],
            row["push_paused"],
            row["pull_paused"],
            row["suspended_reason"] is not None,
            (row["log_xact"], row["change_id"]),
            row["swept_at"],
            row["mark"],
            collections,
        )

    async def take_lease(self, owner: str, duration_s: float) -> bool:
        """Take or renew the lease; return False if another worker holds it, or if the sync is stopped."""
        now = await self._database.now()
        values = self._values(owner=owner, now=now, until=now + timedelta(seconds=duration_s))
        return bool(await self._database.fetch(SQL["take_lease"], values, idempotent=True))

    async def release_lease(self, owner: str) -> None:
        await self._run("release_lease", owner=owner)

    async def store_position(self, position: tuple[int, int]) -> None:
        await self._run("store_position", log_xact=position[0], change_id=position[1])

    async def swept(self) -> None:
        """Store that all records were compared, and drop old events."""
        now = await self._database.now()
        await self._run("store_swept", now=now)
        await self._run("drop_events", before=now - EVENT_RETENTION)

    async def forget_gone(self, collections: Sequence[str]) -> None:
        """Forget remote ids that the upstream deleted so long ago that no read from before is merged any more.

        What can be forgotten is known from marks that are stored once in GONE_INTERVAL: a read that began before the
        last one is not merged from then on, and one interval later the ids of that time are forgotten.
        """
        now = await self._database.now()
        values = self._values(now=now, before=now - GONE_INTERVAL)
        rows = await self._database.fetch(SQL["advance_gone"], values, idempotent=True)
        if not rows or not rows[0]["known_before"]:
            return
        for collection in collections:
            seen, after = LINKED, ""
            while seen == LINKED:
                page = self._values(
                    collection=collection, after=after, known_before=rows[0]["known_before"], limit=LINKED
                )
                row = (await self._database.fetch(SQL["forget_gone"], page, idempotent=True))[0]
                seen, after = row["seen"], row["last"]

    async def store_breaker(self, failures: int, open_for_s: float) -> None:
        open_until = await self._database.now() + timedelta(seconds=open_for_s) if open_for_s else None
        await self._run("store_breaker", failures=failures, open_until=open_until)

    async def reached(self) -> None:
        """Store that the upstream can be reached again."""
        await self.store_breaker(0, 0.0)

    async def report(self, collection: str, kind: str, message: str) -> None:
        """Add an event about a collection."""
        values = self._values(
            collection=collection, kind=kind, reason=kind, message=message, now=await self._database.now()
        )
        await self._database.fetch(SQL["add_event"], values)

    async def suspend(self, reason: str, message: str) -> None:
        """Stop the sync until a person resumes it."""
        await self._run("suspend", reason=reason, message=message, now=await self._database.now())

    async def moved_to(self) -> str:
        """Return the identity of the database if the workers of this sync have seen another one, else an empty text.

        A copy of a database has another identity. The first one that is seen is stored.
        """
        rows = await self._database.fetch(SQL["database_of"], self._values(), idempotent=True)
        if not rows:
            return ""
        found, seen = f"{await self._server()}/{rows[0]['oid']}", rows[0]["seen"]
        if seen is None:
            await self._run("store_database", database=found)
        return found if seen is not None and _differ(seen, found) else ""

    async def _server(self) -> str:
        """Return the identity of the server; empty if this role may not read it."""
        if not (await self._database.fetch(SQL["may_identify_server"], {}, idempotent=True))[0]["is_allowed"]:
            return ""
        return str((await self._database.fetch(SQL["server_identifier"], {}, idempotent=True))[0]["server"])

    async def suspend_restored(self, reason: str, message: str, identity: str) -> None:
        """Stop the sync until a person resumes it, and have a snapshot read before anything is sent.

        `identity`: that of the database, if it is another one than before. It is stored only together with the
        suspension, so that a failure of this call leaves the sync to be stopped by the next worker.
        """
        values = self._values(reason=reason, message=message, now=await self._database.now(), database=identity)

        async def write(transaction: Transaction) -> None:
            await transaction.fetch(SQL["begin_again"], values)
            await transaction.fetch(SQL["suspend"], values)
            if identity:
                await transaction.fetch(SQL["store_database"], values)

        await self._database.transact(write, idempotent=True)

    async def store_cursor(self, transaction: Transaction, collection: str, cursor: str) -> None:
        await transaction.fetch(SQL["store_cursor"], self._values(collection=collection, cursor=cursor))

    async def forget_cursor(self, collection: str) -> None:
        await self._run("forget_cursor", collection=collection)

    async def changes_read(self, collection: str) -> None:
        await self._run("store_pulled", collection=collection, now=await self._database.now())

    async def snapshot_read(self, collection: str, cursor: str | None) -> None:
        await self._run("store_snapshot", collection=collection, cursor=cursor, now=await self._database.now())

    async def linked(self, collection: str, mark: int) -> AsyncIterator[Sequence[tuple[str, str]]]:
        """Yield the linked records of which nothing newer is known than `mark`, with their remote ids, in parts."""
        after = ""
        while True:
            values = self._values(collection=collection, after=after, mark=mark, limit=LINKED)
            rows = await self._database.fetch(SQL["linked"], values, idempotent=True)
            yield [(row["record_id"], row["remote_id"]) for row in rows if row["is_linked"]]
            if len(rows) < LINKED:
                return
            after = rows[-1]["record_id"]


def _differ(seen: str, found: str) -> bool:
    """Return whether two identities are of different databases. A server that is not known may be any."""
    *old_server, old_id = seen.split("/")
    *new_server, new_id = found.split("/")
    return old_id != new_id or bool(any(old_server) and any(new_server) and old_server != new_server)
