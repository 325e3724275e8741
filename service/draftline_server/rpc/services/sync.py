"""The implementation of SyncService."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from draftline.v1 import sync_pb2

from ...domain.content import Limits
from ...domain.errors import InvalidFieldError
from ...domain.merged import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from ...domain.records import Actor
from ...domain.sync_records import SyncEvent, SyncRecord
from ...store.page_tokens import PageTokens
from ...store.sync.configs import SyncConfigs
from ...store.sync.decisions import SyncDecisions
from ...store.sync.previews import SyncPreviews
from ...store.sync.states import SyncStates
from ...store.transaction import Transaction
from ..mapping.sync import (
    RUNS,
    STATE_OF,
    fill_sync_event,
    fill_sync_record,
    to_commit_status,
    to_decisions,
    to_push_preview,
    to_spec,
    to_status,
    to_sync,
)
from ..response_size import append_within_limit
from ..stored_responses import StoredResponses

LAST_EVENT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class SyncService:
    """The rpcs of SyncService, which protos/draftline/v1/sync.proto documents."""

    configs: SyncConfigs
    states: SyncStates
    decisions: SyncDecisions
    previews: SyncPreviews
    responses: StoredResponses
    page_tokens: PageTokens
    limits: Limits

    async def PutSync(self, request: sync_pb2.PutSyncRequest, actor: Actor) -> sync_pb2.PutSyncResponse:  # noqa: N802
        spec = to_spec(request.upstream, request.spec)
        expected = request.expected_version if request.HasField("expected_version") else None
        await self.configs.prepare(actor.tenant_id, spec)

        async def write(transaction: Transaction) -> sync_pb2.PutSyncResponse:
            stored = await self.configs.put(transaction, actor.tenant_id, spec, expected)
            return sync_pb2.PutSyncResponse(sync=to_sync(stored, actor.tenant_id))

        return await self.responses.write(actor, write)

    async def GetSync(self, request: sync_pb2.GetSyncRequest, actor: Actor) -> sync_pb2.GetSyncResponse:  # noqa: N802
        found = await self.configs.get(actor.tenant_id, request.upstream)
        return sync_pb2.GetSyncResponse(sync=to_sync(found, actor.tenant_id))

    async def ListSyncs(self, request: sync_pb2.ListSyncsRequest, actor: Actor) -> sync_pb2.ListSyncsResponse:  # noqa: N802
        size = min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        key = ("ListSyncs", actor.tenant_id)
        after = self._opened(key, request.page_token)
        found = await self.configs.page(actor.tenant_id, str(after or ""), size + 1)
        response = sync_pb2.ListSyncsResponse(syncs=[to_sync(each, actor.tenant_id) for each in found[:size]])
        if len(found) > size:
            response.next_page_token = self.page_tokens.seal(key, [found[size - 1].spec.upstream])
        return response

    async def PauseSync(self, request: sync_pb2.PauseSyncRequest, actor: Actor) -> sync_pb2.PauseSyncResponse:  # noqa: N802
        push, pull = _parts(request.push, request.pull, paused=True)

        async def write(transaction: Transaction) -> sync_pb2.PauseSyncResponse:
            sync = await self.configs.pause(
                transaction, actor.tenant_id, request.upstream, push=push, pull=pull, resumes=False
            )
            return sync_pb2.PauseSyncResponse(sync=to_sync(sync, actor.tenant_id))

        return await self.responses.write(actor, write)

    async def ResumeSync(self, request: sync_pb2.ResumeSyncRequest, actor: Actor) -> sync_pb2.ResumeSyncResponse:  # noqa: N802
        push, pull = _parts(request.push, request.pull, paused=False)

        async def write(transaction: Transaction) -> sync_pb2.ResumeSyncResponse:
            sync = await self.configs.pause(
                transaction, actor.tenant_id, request.upstream, push=push, pull=pull, resumes=True
            )
            return sync_pb2.ResumeSyncResponse(sync=to_sync(sync, actor.tenant_id))

        return await self.responses.write(actor, write)

    async def RunSync(self, request: sync_pb2.RunSyncRequest, actor: Actor) -> sync_pb2.RunSyncResponse:  # noqa: N802
        if request.allow_deletions and request.run != sync_pb2.SYNC_RUN_SNAPSHOT:
            raise InvalidFieldError.of("allow_deletions", "may be set only with SYNC_RUN_SNAPSHOT")
        if request.validate_only:
            if request.run != sync_pb2.SYNC_RUN_PUSH:
                raise InvalidFieldError.of("validate_only", "may be set only with SYNC_RUN_PUSH")
            previews = await self.previews.push(actor.tenant_id, request.upstream)
            return sync_pb2.RunSyncResponse(previews=map(to_push_preview, previews))

        async def write(transaction: Transaction) -> sync_pb2.RunSyncResponse:
            await self.configs.request(
                transaction, actor.tenant_id, request.upstream, RUNS[request.run], request.allow_deletions
            )
            return sync_pb2.RunSyncResponse()

        return await self.responses.write(actor, write)

    async def GetSyncStatus(  # noqa: N802
        self, request: sync_pb2.GetSyncStatusRequest, actor: Actor
    ) -> sync_pb2.GetSyncStatusResponse:
        if request.WhichOneof("scope") == "commit_id":
            return to_commit_status(await self.states.of_commit(actor.tenant_id, request.commit_id))
        await self.configs.get(actor.tenant_id, request.upstream)
        return to_status(await self.states.counts(actor.tenant_id, request.upstream))

    async def ListSyncRecords(  # noqa: N802
        self, request: sync_pb2.ListSyncRecordsRequest, actor: Actor
    ) -> sync_pb2.ListSyncRecordsResponse:
        size = min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        key = ("ListSyncRecords", actor.tenant_id, request.collection, request.state)
        after = str(self._opened(key, request.page_token) or "")
        state = STATE_OF[request.state] if request.state else None
        found: Sequence[SyncRecord] = await self.states.page(
            actor.tenant_id, request.collection, state, after, size + 1
        )
        response = sync_pb2.ListSyncRecordsResponse()
        append_within_limit(
            response.records, found[:size], partial(fill_sync_record, encoding=request.response_encoding)
        )
        kept = len(response.records)
        if len(found) > kept:
            response.next_page_token = self.page_tokens.seal(key, [found[kept - 1].record_id])
        return response

    async def ListSyncEvents(  # noqa: N802
        self, request: sync_pb2.ListSyncEventsRequest, actor: Actor
    ) -> sync_pb2.ListSyncEventsResponse:
        size = min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        key = ("ListSyncEvents", actor.tenant_id, request.upstream, request.collection, request.record_id)
        before = int(str(self._opened(key, request.page_token) or LAST_EVENT))
        found: Sequence[SyncEvent] = await self.states.events(
            actor.tenant_id,
            request.upstream,
            collection=request.collection,
            record_id=request.record_id,
            before=before,
            limit=size + 1,
        )
        response = sync_pb2.ListSyncEventsResponse()
        append_within_limit(response.events, found[:size], partial(fill_sync_event, encoding=request.response_encoding))
        kept = len(response.events)
        if len(found) > kept:
            response.next_page_token = self.page_tokens.seal(key, [str(found[kept - 1].event_id)])
        return response

    async def RetrySync(self, request: sync_pb2.RetrySyncRequest, actor: Actor) -> sync_pb2.RetrySyncResponse:  # noqa: N802
        if request.all == bool(request.record_ids):
            raise InvalidFieldError.of("record_ids", "either record_ids or all must be set")
        record_ids = None if request.all else list(request.record_ids)

        async def write(transaction: Transaction) -> sync_pb2.RetrySyncResponse:
            retried = await self.decisions.retry(
                transaction, actor.tenant_id, request.collection, record_ids, forgets_attempts=request.forget_attempts
            )
            return sync_pb2.RetrySyncResponse(retried=len(retried))

        return await self.responses.write(actor, write)

    async def ResolveSync(self, request: sync_pb2.ResolveSyncRequest, actor: Actor) -> sync_pb2.ResolveSyncResponse:  # noqa: N802
        decisions = to_decisions(request.decisions, self.limits)
        await self.decisions.load_spec(actor.tenant_id, request.collection)

        async def write(transaction: Transaction) -> sync_pb2.ResolveSyncResponse:
            version, left = await self.decisions.resolve(
                transaction,
                actor,
                request.collection,
                request.record_id,
                decisions,
                expected_version=request.expected_version if request.HasField("expected_version") else None,
                change_reason=request.change_reason,
            )
            return sync_pb2.ResolveSyncResponse(version=version, conflicts_left=left)

        return await self.responses.write(actor, write)

    async def LinkRecord(self, request: sync_pb2.LinkRecordRequest, actor: Actor) -> sync_pb2.LinkRecordResponse:  # noqa: N802
        await self.decisions.load_spec(actor.tenant_id, request.collection)

        async def write(transaction: Transaction) -> sync_pb2.LinkRecordResponse:
            await self.decisions.link(transaction, actor, request.collection, request.record_id, request.remote_id)
            return sync_pb2.LinkRecordResponse()

        return await self.responses.write(actor, write)

    def _opened(self, key: tuple[object, ...], token: str) -> object:
        """Return the position of a page token; None for the first page. Raises InvalidFieldError."""
        return self.page_tokens.open(key, token)[0] if token else None


def _parts(push: bool, pull: bool, *, paused: bool) -> tuple[bool | None, bool | None]:
    """Return which parts to pause or resume; None leaves one as it is. Neither named: both."""
    both = push == pull
    return (paused if push or both else None), (paused if pull or both else None)
