"""The implementation of ContentService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from draftline.v1 import content_pb2

from ...background.read_batcher import ReadBatcher
from ...domain.content import Limits
from ...domain.errors import (
    DraftlineError,
    InvalidFieldError,
    RecordDeletedError,
    RecordNotFoundError,
)
from ...domain.records import Actor, ImportedRecord, ImportMode, KeysOf, NewRecord, Patch, PatchResult
from ...store.content import ContentStore
from ...store.imports import ImportStore
from ...store.patches import PatchStore
from ...store.purges import PurgeStore
from ...store.quotas import Quotas
from ...store.transaction import Transaction
from ..cooperative import yielding
from ..encoded_page import EncodedPage
from ..mapping.documents import document_text
from ..mapping.imports import imported_record
from ..mapping.records import fill_record, to_condition, to_patch, to_purge
from ..response_size import append_within_limit
from ..status import to_status
from ..stored_responses import StoredResponses
from .batch_checks import check_batch, check_duplicate_ids
from .merged_pages import MergedPages
from .partial_batch import PartialBatch

IMPORT_MODES = {
    content_pb2.IMPORT_MODE_UNSPECIFIED: ImportMode.UPSERT,
    content_pb2.IMPORT_MODE_UPSERT: ImportMode.UPSERT,
    content_pb2.IMPORT_MODE_SNAPSHOT: ImportMode.SNAPSHOT,
}

StreamedWrite: TypeAlias = (
    content_pb2.PatchContentRequest | content_pb2.CreateContentRequest | content_pb2.DeleteContentRequest
)


@dataclass(frozen=True, slots=True)
class ContentService:
    """The rpcs of ContentService, which protos/draftline/v1/content.proto documents."""

    content: ContentStore
    reads: ContentStore | ReadBatcher
    patches: PatchStore
    imports: ImportStore
    purges: PurgeStore
    pages: MergedPages
    responses: StoredResponses
    limits: Limits
    quotas: Quotas

    async def CreateContent(  # noqa: N802
        self, request: content_pb2.CreateContentRequest, actor: Actor
    ) -> content_pb2.CreateContentResponse:
        new = NewRecord(
            request.collection,
            request.record_id,
            document_text(request.content, self.limits, "content"),
            request.parent_id or None,
            request.position if request.HasField("position") else None,
            allow_deleted=request.allow_deleted,
        )
        with self.quotas.limit_creation(actor.tenant_id, new) as limited:
            record = await self.content.create(
                actor, limited, change_reason=request.change_reason, validate_only=request.validate_only
            )
        response = content_pb2.CreateContentResponse()
        fill_record(response.record, record, actor.tenant_id, request)
        return response

    async def GetContent(  # noqa: N802
        self, request: content_pb2.GetContentRequest, actor: Actor
    ) -> content_pb2.GetContentResponse | EncodedPage:
        record = await self.reads.get(actor, request.collection, request.record_id, show_deleted=request.show_deleted)
        if request.expand:
            return await self.pages.related_to(request, record, actor)
        response = content_pb2.GetContentResponse()
        fill_record(response.record, record, actor.tenant_id, request)
        return response

    async def BatchGetContent(  # noqa: N802
        self, request: content_pb2.BatchGetContentRequest, actor: Actor
    ) -> content_pb2.BatchGetContentResponse:
        check_duplicate_ids(request.record_ids)
        found = await self.content.get_all(
            actor, request.collection, request.record_ids,
            show_deleted=request.show_deleted, allow_missing=request.allow_missing,
        )  # fmt: skip
        missing = [record_id for record_id, record in found.items() if record is None]
        response = content_pb2.BatchGetContentResponse(missing_record_ids=missing)
        records = filter(None, found.values())
        append_within_limit(response.records, records, lambda part, it: fill_record(part, it, actor.tenant_id, request))
        return response

    async def PatchContent(  # noqa: N802
        self, request: content_pb2.PatchContentRequest, actor: Actor
    ) -> content_pb2.PatchContentResponse:
        limited = self.quotas.limit_patches(actor.tenant_id, [to_patch(request, self.limits)])
        try:
            result = await self.patches.patch(
                actor, limited.patches[0], change_reason=request.change_reason, validate_only=request.validate_only
            )
        except (RecordNotFoundError, RecordDeletedError) as error:
            raise limited.explained(0, error) from None
        response = content_pb2.PatchContentResponse()
        _fill_patched(response, result, actor, request)
        return response

    async def BatchPatchContent(  # noqa: N802
        self, request: content_pb2.BatchPatchContentRequest, actor: Actor
    ) -> content_pb2.BatchPatchContentResponse:
        check_batch(request)
        batch: PartialBatch[Patch] = PartialBatch("requests", allow_partial=request.allow_partial)
        await batch.convert(request.requests, lambda item: to_patch(item, self.limits))
        limited = self.quotas.limit_patches(actor.tenant_id, batch.items)

        def fill(
            message: content_pb2.BatchPatchContentResult, outcome: tuple[int, PatchResult | DraftlineError]
        ) -> None:
            index, result = outcome
            if isinstance(result, DraftlineError):
                message.status.CopyFrom(to_status(result))
                return
            message.status.SetInParent()
            _fill_patched(message, result, actor, request.requests[index])

        async def write(transaction: Transaction) -> content_pb2.BatchPatchContentResponse:
            results, commit_id = await self.patches.patch_all(
                transaction,
                actor,
                limited.patches,
                change_reason=request.change_reason,
                allow_partial=request.allow_partial,
            )
            if not request.allow_partial:
                self.quotas.check_new_records(actor.tenant_id, sum(map(_creates_record, results)))
            results = [
                result if result.error is None else PatchResult(error=limited.explained(index, result.error))
                for index, result in enumerate(results)
            ]
            response = content_pb2.BatchPatchContentResponse(commit_id=commit_id)
            append_within_limit(response.results, batch.outcomes(results), fill)
            return response

        collections = {patch.collection for patch in batch.items}
        return await self.responses.write(actor, write, collections=collections, validate_only=request.validate_only)

    async def StreamPatches(  # noqa: N802
        self, request: StreamedWrite, actor: Actor
    ) -> content_pb2.PatchContentResponse | content_pb2.CreateContentResponse | content_pb2.DeleteContentResponse:
        """Apply one write of a stream; see rpc/write_stream.py."""
        if isinstance(request, content_pb2.PatchContentRequest):
            return await self.PatchContent(request, actor)
        if isinstance(request, content_pb2.CreateContentRequest):
            return await self.CreateContent(request, actor)
        return await self.DeleteContent(request, actor)

    def shared_patch(self, request: content_pb2.PatchContentRequest, actor: Actor) -> Patch | None:
        """Return the patch of a request if `patch_each` applies it. Raises the errors of its conversion."""
        patch = to_patch(request, self.limits)
        return patch if self.patches.is_shared(actor, patch) else None

    async def patch_each(
        self,
        patches: Sequence[tuple[Actor, Patch, str]],
        ended: Callable[[int, PatchResult | BaseException | None], None],
    ) -> None:
        """Apply patches of a stream together; see PatchStore.patch_each."""
        await self.patches.patch_each(patches, ended)

    @staticmethod
    def fill_streamed(
        message: content_pb2.StreamPatchesResult,
        result: PatchResult,
        actor: Actor,
        request: content_pb2.PatchContentRequest,
    ) -> None:
        """Fill the outcome of a patch that `patch_each` has applied."""
        _fill_patched(message, result, actor, request)

    async def DeleteContent(  # noqa: N802
        self, request: content_pb2.DeleteContentRequest, actor: Actor
    ) -> content_pb2.DeleteContentResponse:
        record = await self.content.delete(
            actor,
            request.collection,
            request.record_id,
            expected_version=request.expected_version if request.HasField("expected_version") else None,
            condition=to_condition(request.condition),
            allow_missing=request.allow_missing,
            change_reason=request.change_reason,
            validate_only=request.validate_only,
        )
        response = content_pb2.DeleteContentResponse()
        if record is None:
            if not request.validate_only:
                await self.responses.store_unwritten(actor, response)
            return response
        fill_record(response.record, record, actor.tenant_id, request)
        return response

    async def UndeleteContent(  # noqa: N802
        self, request: content_pb2.UndeleteContentRequest, actor: Actor
    ) -> content_pb2.UndeleteContentResponse:
        record = await self.content.undelete(
            actor,
            request.collection,
            request.record_id,
            expected_version=request.expected_version if request.HasField("expected_version") else None,
            change_reason=request.change_reason,
            validate_only=request.validate_only,
        )
        response = content_pb2.UndeleteContentResponse()
        fill_record(response.record, record, actor.tenant_id, request)
        return response

    async def ImportContent(  # noqa: N802
        self, header: content_pb2.ImportHeader, requests: AsyncIterator[content_pb2.ImportContentRequest], actor: Actor
    ) -> content_pb2.ImportContentResponse:
        async with self.imports.load(
            actor,
            header.collection,
            lambda keys_of: self._records(requests, keys_of),
            IMPORT_MODES[header.mode],
            allow_empty=header.allow_empty,
            change_reason=header.change_reason,
        ) as (transaction, counts):
            self.quotas.check_new_records(actor.tenant_id, counts.inserted)
            response = content_pb2.ImportContentResponse(
                inserted_count=counts.inserted,
                updated_count=counts.updated,
                unchanged_count=counts.unchanged,
                deleted_count=counts.deleted,
                commit_id=counts.commit_id,
            )
            await self.responses.store(transaction, actor, response)
        return response

    async def PurgeContent(  # noqa: N802
        self, request: content_pb2.PurgeContentRequest, actor: Actor
    ) -> content_pb2.PurgeContentResponse:
        purge, settle_by = to_purge(request), self.purges.settle_by()

        async def write(transaction: Transaction) -> content_pb2.PurgeContentResponse:
            purged = await self.purges.purge(
                transaction, actor, purge, settle_by=settle_by, change_reason=request.change_reason
            )
            return content_pb2.PurgeContentResponse(
                record_ids=purged.record_ids, draft_count=purged.drafts, remaining_count=purged.remaining
            )

        return await self.responses.write(actor, write, validate_only=request.validate_only)

    async def _records(
        self, requests: AsyncIterator[content_pb2.ImportContentRequest], keys_of: KeysOf
    ) -> AsyncIterator[list[ImportedRecord]]:
        count = 0
        async for request in requests:
            if request.WhichOneof("part") == "end":
                if request.end.record_count != count:
                    raise InvalidFieldError.of(
                        "end.record_count", f"is {request.end.record_count}, but {count} records arrived"
                    )
                if await anext(requests, None) is not None:
                    raise InvalidFieldError.of("end", "must be the last message of an import")
                return
            if request.WhichOneof("part") != "chunk":
                raise InvalidFieldError.of("header", "must be sent once, as the first message")
            chunk: list[ImportedRecord] = []
            async for item in yielding(request.chunk.records):
                chunk.append(imported_record(item, count, self.limits, keys_of))
                count += 1
            yield chunk
        # A broken stream can look like a complete one; only the `end` message distinguishes them.
        raise InvalidFieldError.of("end", "must be sent, as the last message of an import")


def _creates_record(result: PatchResult) -> bool:
    return result.written and result.record is not None and result.record.version == 1


def _fill_patched(
    message: content_pb2.PatchContentResponse | content_pb2.BatchPatchContentResult | content_pb2.StreamPatchesResult,
    result: PatchResult,
    actor: Actor,
    request: content_pb2.PatchContentRequest,
) -> None:
    message.changed_fields.extend(result.changed_fields)
    if result.record is not None:
        fill_record(message.record, result.record, actor.tenant_id, request)
