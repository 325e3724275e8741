# Generated from draftline/_async/sync.py by `make generate`; never edited.
"""The methods of SyncService."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from draftline._core import sync_calls
from draftline._core.arguments import checked_duration
from draftline._sync.transport import Transport
from draftline.models import (
    UNSET,
    RecordState,
    Sync,
    SyncCollection,
    SyncEvent,
    SyncPushPreview,
    SyncRecord,
    SyncRun,
    SyncStatus,
    Unset,
)

POLL_S = 0.1  # the first pause of wait_synced
LONGEST_POLL_S = 1.0


class SyncMethods(Transport):
    def put_sync(
        self,
        upstream: str,
        endpoint: str,
        collections: Iterable[SyncCollection | str],
        *,
        pull_interval_s: int = 0,
        snapshot_interval_s: int = 0,
        push: bool = True,
        pull: bool = True,
        accept_overwrites: bool = False,
        batch_by_commit: bool = False,
        expected_version: int | None = None,
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Sync:
        """Create or replace a sync: bind collections to a system of record.

            client.put_sync("pems", "pems", ["parts"])

        Args:
            upstream: the name of the sync.
            endpoint: the name of the system in the operator's file of upstreams.
            collections: the collections, each with its fields and policies if it is a SyncCollection. One that is no
                longer named is released.
            pull_interval_s: the seconds between two reads of changes; 0: 60.
            snapshot_interval_s: the seconds between two snapshots; 0: a day.
            push: False: nothing is sent.
            pull: False: nothing is read.
            accept_overwrites: accepts a system that has neither idempotency keys nor conditional writes.
            batch_by_commit: sends the records of a commit in one atomic batch, if the system has such batches.
            expected_version: writes only if the sync has this version; 0: only if it does not exist.

        Raises:
            VersionMismatchError: the sync has another version.
        """
        call = sync_calls.put_sync(
            self._tenant(tenant_id),
            upstream,
            endpoint,
            collections,
            pull_interval_s=pull_interval_s,
            snapshot_interval_s=snapshot_interval_s,
            push=push,
            pull=pull,
            accept_overwrites=accept_overwrites,
            batch_by_commit=batch_by_commit,
            expected_version=expected_version,
            request_id=request_id,
        )
        return self._call(call, timeout)

    def get_sync(self, upstream: str, *, tenant_id: str | None = None, timeout: float | Unset | None = UNSET) -> Sync:
        """Return a sync and its state.

            sync = client.get_sync("pems")
            print(sync.suspended_reason or "running")

        Raises:
            NotFoundError: there is no such sync.
        """
        return self._call(sync_calls.get_sync(self._tenant(tenant_id), upstream), timeout)

    def list_syncs(
        self, *, page_size: int = 0, tenant_id: str | None = None, timeout: float | Unset | None = UNSET
    ) -> Iterator[Sync]:
        """Iterate over the tenant's syncs, sorted by name.

            for each in client.list_syncs():
                print(each.upstream, each.endpoint)

        Args:
            page_size: syncs per page; 0: 100; at most 1,000.
        """
        return self._pages(sync_calls.list_syncs(self._tenant(tenant_id), page_size=page_size), timeout)

    def pause_sync(
        self,
        upstream: str,
        *,
        push: bool = False,
        pull: bool = False,
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Sync:
        """Pause a sync; with `push` or `pull`, only in this direction.

            client.pause_sync("pems", push=True)

        Raises:
            NotFoundError: there is no such sync.
        """
        call = sync_calls.pause_sync(self._tenant(tenant_id), upstream, push=push, pull=pull, request_id=request_id)
        return self._call(call, timeout)

    def resume_sync(
        self,
        upstream: str,
        *,
        push: bool = False,
        pull: bool = False,
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Sync:
        """Resume a paused or suspended sync; with `push` or `pull`, only in this direction.

            client.resume_sync("pems")

        Raises:
            NotFoundError: there is no such sync.
        """
        call = sync_calls.resume_sync(self._tenant(tenant_id), upstream, push=push, pull=pull, request_id=request_id)
        return self._call(call, timeout)

    def run_sync(
        self,
        upstream: str,
        run: SyncRun | str,
        *,
        allow_deletions: int = 0,
        validate_only: bool = False,
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> list[SyncPushPreview]:
        """Have the workers push, read changes, or read a snapshot now. Return what a push would do if `validate_only`.

            client.run_sync("pems", "snapshot")
            for preview in client.run_sync("pems", "push", validate_only=True):
                print(preview.collection, preview.created, preview.updated, preview.deleted)

        Args:
            run: "push", "changes" or "snapshot".
            allow_deletions: how many deletions a snapshot may make above the limit.
            validate_only: only count what a push would do with the records of each collection, and change nothing.
                Allowed with "push" only. The result is empty otherwise.

        Raises:
            NotFoundError: there is no such sync.
        """
        call = sync_calls.run_sync(
            self._tenant(tenant_id),
            upstream,
            run,
            allow_deletions=allow_deletions,
            validate_only=validate_only,
            request_id=request_id,
        )
        return self._call(call, timeout)

    def get_sync_status(
        self,
        upstream: str | None = None,
        *,
        commit_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> SyncStatus:
        """Return how many records of a sync, or of a commit, are in which state.

            status = client.get_sync_status("pems")
            print(status.committed, status.failed, status.conflicts)

        Args:
            upstream: the name of the sync.
            commit_id: the id of a commit, in place of a sync.
        """
        return self._call(sync_calls.get_sync_status(self._tenant(tenant_id), upstream, commit_id), timeout)

    def wait_synced(
        self,
        commit_id: str,
        *,
        wait_s: float = 30.0,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> SyncStatus:
        """Wait until nothing of a commit waits for its system of record, and return the status.

            committed = client.commit("parts", all=True)
            status = client.wait_synced(committed.commit_id, wait_s=0.1)
            print(status.is_settled, status.failed, status.conflicts)

        Args:
            commit_id: the id of a commit, a batch or a revert.
            wait_s: the seconds to wait at most. The status then still counts what waits.
            timeout: of each call in between.
        """
        end, pause_s = time.monotonic() + checked_duration("wait_s", wait_s), POLL_S
        while True:
            status = self.get_sync_status(commit_id=commit_id, tenant_id=tenant_id, timeout=timeout)
            left_s = end - time.monotonic()
            if status.is_settled or left_s <= 0:
                return status
            self._reconnect_wait.wait(min(pause_s, left_s))
            pause_s = min(LONGEST_POLL_S, 1.5 * pause_s)

    def list_sync_records(
        self,
        collection: str,
        *,
        state: RecordState | str | None = None,
        page_size: int = 0,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Iterator[SyncRecord]:
        """Iterate over the records of a collection that differ from the upstream, sorted by id.

            for each in client.list_sync_records("parts", state="sync_error"):
                print(each.record_id, each.sync.reason, each.sync.message)

        Args:
            state: only records in this state: "committed", "syncing" or "sync_error".
            page_size: records per page; 0: 100; at most 1,000.
        """
        call = sync_calls.list_sync_records(self._tenant(tenant_id), collection, state=state, page_size=page_size)
        return self._pages(call, timeout)

    def list_sync_events(
        self,
        upstream: str,
        *,
        collection: str = "",
        record_id: str = "",
        page_size: int = 0,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Iterator[SyncEvent]:
        """Iterate over the events of a sync, newest first.

            for each in client.list_sync_events("pems", record_id="p-1"):
                print(each.event_time, each.kind, each.message)

        Args:
            collection: only events of this collection.
            record_id: only events of this record.
            page_size: events per page; 0: 100; at most 1,000.
        """
        call = sync_calls.list_sync_events(
            self._tenant(tenant_id), upstream, collection=collection, record_id=record_id, page_size=page_size
        )
        return self._pages(call, timeout)

    def retry_sync(
        self,
        collection: str,
        record_ids: Iterable[str] = (),
        *,
        all: bool = False,
        forget_attempts: bool = False,
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> int:
        """Send records again that the upstream has refused, and return how many those are.

            client.retry_sync("parts", all=True)

        Args:
            record_ids: the records.
            all: all refused records of the collection, in place of `record_ids`.
            forget_attempts: also gives up writes whose outcome is not known. A lost one that still arrives may then be
                applied as well.
        """
        call = sync_calls.retry_sync(
            self._tenant(tenant_id),
            collection,
            record_ids,
            all=all,
            forget_attempts=forget_attempts,
            request_id=request_id,
        )
        return self._call(call, timeout)

    def resolve_sync(
        self,
        collection: str,
        record_id: str,
        *,
        mine: Iterable[str] = (),
        theirs: Iterable[str] = (),
        values: Mapping[str, Any] | None = None,
        expected_version: int | None = None,
        change_reason: str = "",
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> int:
        """Decide conflicts of a record with the upstream, and return how many are left.

            for each in client.list_sync_records("parts", state="sync_error"):
                client.resolve_sync("parts", each.record_id, mine=["/rate"], values={"/note": "both"})

        Args:
            mine: the paths at which the value here is sent. "" is the whole record, which one side has deleted.
            theirs: the paths at which the value of the upstream is taken.
            values: the paths at which another value replaces both.
            expected_version: decides only if the record has this version.
            change_reason: the reason for the change log, up to 1,000 characters.

        Raises:
            VersionMismatchError: the record has another version.
        """
        call = sync_calls.resolve_sync(
            self._tenant(tenant_id),
            collection,
            record_id,
            mine=mine,
            theirs=theirs,
            values={} if values is None else values,
            expected_version=expected_version,
            change_reason=change_reason,
            request_id=request_id,
        )
        return self._call(call, timeout)

    def link_record(
        self,
        collection: str,
        record_id: str,
        remote_id: str,
        *,
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> None:
        """Link a record to one of the upstream, for example after a creation whose response was lost.

            client.link_record("parts", "p-1", "remote-7")

        Args:
            remote_id: the id at the upstream.
        """
        call = sync_calls.link_record(self._tenant(tenant_id), collection, record_id, remote_id, request_id=request_id)
        return self._call(call, timeout)
