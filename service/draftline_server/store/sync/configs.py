"""The configurations of syncs, as tenants declare them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import asyncpg

from ...domain.errors import CollectionBoundError, HistoryNotKeptError, SyncNotFoundError, VersionMismatchError
from ...domain.sync import BoundCollection, Sync, SyncSpec
from ..advisory_locks import LockFamily
from ..database import Database
from ..statements import load
from ..transaction import Transaction
from .specs import collection_of, config_of_collection, config_of_spec, spec_of

SQL = load("sync_config")
FORGOTTEN = 2_000  # records that one statement forgets


class SyncConfigs:
    """Stores and reads the syncs of tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, tenant_id: str, upstream: str) -> Sync:
        """Return a sync. Raises SyncNotFoundError."""
        found = await self.page(tenant_id, "", 1, upstream)
        if not found:
            raise _not_found(upstream)
        return found[0]

    async def page(self, tenant_id: str, after: str, limit: int, upstream: str = "") -> Sequence[Sync]:
        """Return the next syncs of a tenant, by name; or only the named one."""
        values: dict[str, object] = {"tenant_id": tenant_id, "after": after, "limit": limit, "upstream": upstream}
        return [_sync(row) for row in await self._database.fetch(SQL["get_syncs"], values, idempotent=True)]

    async def prepare(self, tenant_id: str, spec: SyncSpec) -> None:
        """Forget what earlier syncs knew of the collections that no sync binds now."""
        names = sorted(each.collection for each in spec.collections)
        given: dict[str, object] = {"tenant_id": tenant_id, "collections": names}
        for row in await self._database.fetch(SQL["known_unbound"], given, idempotent=True):
            values: dict[str, object] = {
                "tenant_id": tenant_id, "collection": row["collection"], "collections": [row["collection"]],
                "spec_lock": LockFamily.COLLECTION_SPEC, "limit": FORGOTTEN,
            }  # fmt: skip
            while (await self._forget("forget_acknowledged", values))["forgotten"]:
                pass
            after: str | None = ""
            while after is not None:
                after = (await self._forget("reset_acknowledged", {**values, "after": after}))["last"]

    async def _forget(self, name: str, values: dict[str, object]) -> asyncpg.Record:
        """Run one step of forgetting, while no other call can bind the collection."""
        async with self._database.transaction() as transaction:
            await transaction.fetch(SQL["lock_specs"], values)
            return (await transaction.fetch(SQL[name], values))[0]

    async def put(self, transaction: Transaction, tenant_id: str, spec: SyncSpec, expected_version: int | None) -> Sync:
        """Create or replace a sync, and return it.

        Raises VersionMismatchError if the version is not the expected one (0: the sync does not exist yet),
        CollectionBoundError if a collection belongs to another sync, or if the fields of a bound one change, and
        HistoryNotKeptError if the change log of a collection lacks the values.
        """
        names = sorted(each.collection for each in spec.collections)
        values: dict[str, object] = {
            "tenant_id": tenant_id,
            "upstream": spec.upstream,
            "endpoint": spec.endpoint,
            "config": config_of_spec(spec),
            "collections": names,
            "spec_lock": LockFamily.COLLECTION_SPEC,
            "now": await transaction.now(),
        }
        locked = await transaction.fetch(SQL["lock_sync"], values)
        version = locked[0]["version"] if locked else 0
        if expected_version is not None and expected_version != version:
            raise VersionMismatchError(
                f"expected_version is {expected_version}, but the version of the sync is {version}",
                upstream=spec.upstream,
                current_version=version,
            )
        await transaction.fetch(SQL["lock_specs"], values)
        await self._check(transaction, spec, values, locked[0]["endpoint"] if locked else "")
        await transaction.fetch(SQL["accept_older"], values)
        await transaction.fetch(SQL["put_sync"], values)
        ordered = sorted(spec.collections, key=lambda each: each.collection)
        values["configs"] = [config_of_collection(each) for each in ordered]
        await transaction.fetch(SQL["put_collections"], values)
        found = await transaction.fetch(SQL["get_syncs"], {**values, "after": "", "limit": 1})
        return _sync(found[0])

    async def _check(self, transaction: Transaction, spec: SyncSpec, values: dict[str, object], endpoint: str) -> None:
        for row in await transaction.fetch(SQL["bound_elsewhere"], values):
            raise CollectionBoundError(
                f"collection {row['collection']!r} belongs to sync {row['upstream']!r}; a collection has one system of "
                "record, so remove it there first",
                upstream=row["upstream"],
                collection=row["collection"],
            )
        for row in await transaction.fetch(SQL["without_values"], values):
            raise HistoryNotKeptError(
                f"the change log of collection {row['collection']!r} holds only paths (CHANGE_HISTORY_PATHS); declare "
                "it with CHANGE_HISTORY_VALUES, so that it is known what the upstream holds",
                collection=row["collection"],
            )
        given = {each.collection: each for each in spec.collections}
        for row in await transaction.fetch(SQL["collections_of"], values):
            stored, wanted = collection_of(row["collection"], row["config_text"]), given.get(row["collection"])
            if wanted is not None and (_place(stored), endpoint) != (_place(wanted), spec.endpoint):
                raise CollectionBoundError(
                    f"collection {row['collection']!r} is bound with another endpoint, resource or other fields; "
                    "release it first by a PutSync without it, because what is known of the upstream does not hold "
                    "for these",
                    collection=row["collection"],
                )

    async def pause(
        self,
        transaction: Transaction,
        tenant_id: str,
        upstream: str,
        *,
        push: bool | None,
        pull: bool | None,
        resumes: bool,
    ) -> Sync:
        """Set which parts are paused; None leaves a part as it is. Raises SyncNotFoundError."""
        values: dict[str, object] = {
            "tenant_id": tenant_id, "upstream": upstream, "push": push, "pull": pull, "resumes": resumes,
            "now": await transaction.now(),
        }  # fmt: skip
        if resumes:
            await transaction.fetch(SQL["accept_older"], values)
        if not await transaction.fetch(SQL["pause"], values):
            raise _not_found(upstream)
        return _sync((await transaction.fetch(SQL["get_syncs"], {**values, "after": "", "limit": 1}))[0])

    async def request(
        self, transaction: Transaction, tenant_id: str, upstream: str, requested: str, allowed_deletions: int
    ) -> None:
        """Have the worker pull CHANGES or a SNAPSHOT, or compare all records (PUSH). Raises SyncNotFoundError."""
        values: dict[str, object] = {
            "tenant_id": tenant_id, "upstream": upstream, "requested": requested,
            "allowed_deletions": allowed_deletions,
        }  # fmt: skip
        if not await transaction.fetch(SQL["request"], values):
            raise _not_found(upstream)


def _not_found(upstream: str) -> SyncNotFoundError:
    return SyncNotFoundError(f"there is no sync {upstream!r}", upstream=upstream)


def _place(bound: BoundCollection) -> tuple[object, ...]:
    return bound.resource, bound.fields


def _sync(row: asyncpg.Record) -> Sync:
    stored = [json.loads(each) for each in row["collections"]]
    collections = [collection_of(each["collection"], json.dumps(each["config"])) for each in stored]
    return Sync(
        spec_of(row["upstream"], row["endpoint"], row["config_text"], collections),
        row["version"],
        row["push_paused"],
        row["pull_paused"],
        row["suspended_reason"] or "",
        row["suspended_message"] or "",
        row["created_at"],
        row["updated_at"],
    )
