"""The pages of a merged list as responses, with the related records that they include.

A response has a limited size. A page that exceeds it is read again with fewer records, and a single record with fewer
related records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from draftline.v1 import content_pb2, draft_pb2

from ...domain.errors import AnswerTooLargeError
from ...domain.filters.named_fields import named_fields
from ...domain.merged import MergedQuery, View
from ...domain.records import Actor, Record
from ...store.lists.field_names import FieldNames
from ...store.lists.merged import MAX_PAGE_BYTES, MergedPage, MergedStore
from ...store.relations.expansions import (
    ExpandQuery,
    Expansion,
    Expansions,
    Source,
    TooManyBytesError,
    query_of,
    source_of,
)
from ...store.relations.steps import Step
from ..cooperative import started, yielding
from ..encoded_page import EncodedPage
from ..included_records import encoded_included
from ..mapping.drafts import to_field_warning, to_query
from ..mapping.merged_bytes import MergedEncoder, fill_related, related_bytes
from ..mapping.records import fill_record
from ..mapping.relations import to_expand
from ..response_size import MAX_PAGE_MESSAGE_BYTES

PageRequest: TypeAlias = draft_pb2.GetMergedRequest | draft_pb2.StreamMergedRequest
PageResponse = TypeVar("PageResponse", draft_pb2.GetMergedResponse, draft_pb2.StreamMergedResponse)


@dataclass(frozen=True, slots=True)
class MergedPages:
    merged: MergedStore
    expansions: Expansions
    field_names: FieldNames

    async def page(
        self, response_type: type[PageResponse], request: PageRequest, actor: Actor, page_size: int, page_token: str
    ) -> EncodedPage:
        """Return a page of at most `page_size` records, which fits into one message.

        Raise AnswerTooLargeError if a single record with one related record for each relation does not fit.
        """
        query, (paths, limit) = to_query(request), to_expand(request)
        if page_token == request.page_token:  # once for each call
            await self._check_fields(request, query, actor)
        with_total = isinstance(request, draft_pb2.GetMergedRequest) and request.include_total_size
        related = query_of(query, paths, limit, request.included_fields)
        steps = await self.expansions.steps(actor, related) if paths else {}
        encoder = MergedEncoder(actor, request)
        while True:
            page = await self.merged.page(actor, query, page_size, page_token, include_total_size=with_total)
            message = response_type(next_page_token=page.next_page_token)
            if isinstance(message, draft_pb2.GetMergedResponse) and page.total_size is not None:
                message.total_size = page.total_size
            if not page_token:
                message.warnings.extend(await self._warnings(request, query, actor, page))
            response = EncodedPage(message, page.next_page_token)
            if not steps:
                page_size = await _encode(page, encoder, response)
                if page_size == len(page.records):
                    return response
                continue
            related = query_of(query, paths, limit, request.included_fields)
            async with started(self._expansion(actor, related, steps, page.sources)) as expanding:
                page_size = await _encode(page, encoder, response)  # while the database works
                if page_size < len(page.records):
                    continue
                expansion = await expanding
            if expansion is not None:
                for index, (record_id, _, _) in enumerate(page.sources):
                    response.records[index] += related_bytes(expansion.from_roots[query.collection, record_id])
                response.included = await encoded_included(expansion, actor, request, response_type)
                if response.size() <= MAX_PAGE_MESSAGE_BYTES:
                    return response
            page_size, limit = _fewer(len(page.records), limit)

    async def related_to(self, request: content_pb2.GetContentRequest, record: Record, actor: Actor) -> EncodedPage:
        """Return a record of the baseline with its related records.

        Raise AnswerTooLargeError if it does not fit into one message with one related record for each relation.
        """
        paths, limit = to_expand(request)
        while True:
            message = content_pb2.GetContentResponse()
            response = EncodedPage(message)
            query = ExpandQuery(
                request.collection, paths, limit, View.BASELINE, "", request.show_deleted, request.included_fields
            )
            steps = await self.expansions.steps(actor, query)
            expansion = await self._expansion(actor, query, steps, [source_of(record)])
            if expansion is not None:
                fill_record(message.record, record, actor.tenant_id, request)
                fill_related(message.related, expansion.from_roots[record.collection, record.record_id])
                response.included = await encoded_included(expansion, actor, request, type(message))
                if response.size() <= MAX_PAGE_MESSAGE_BYTES:
                    return response
            _, limit = _fewer(1, limit)

    async def _check_fields(self, request: PageRequest, query: MergedQuery, actor: Actor) -> None:
        """Raise InvalidFieldError if the request is strict and names a field that the collection does not have."""
        if request.strict_fields:
            named = named_fields(query.filter, query.order, request.fields)
            await self.field_names.reject_unknown(actor, query.collection, named)

    async def _warnings(
        self, request: PageRequest, query: MergedQuery, actor: Actor, page: MergedPage
    ) -> list[draft_pb2.FieldWarning]:
        named = named_fields(query.filter, query.order, request.fields)
        contents = [each.record.content for each in page.records] if named else []
        unknown = await self.field_names.unknown(actor, query.collection, named, contents)
        return [to_field_warning(each) for each in unknown]

    async def _expansion(
        self, actor: Actor, query: ExpandQuery, steps: Mapping[str, Step], sources: Sequence[Source]
    ) -> Expansion | None:
        """Return the related records of some records; None if they are too large for a message."""
        try:
            return await self.expansions.expand(actor, query, steps, sources, MAX_PAGE_BYTES)
        except TooManyBytesError:
            return None


async def _encode(page: MergedPage, encoder: MergedEncoder, response: EncodedPage) -> int:
    """Add the records of a page to its response, and return how many fit."""
    async for merged in yielding(page.records):
        response.records.append(encoder.encode(merged))
        response.draft_count += merged.draft_kind is not None
    return response.count_fitting()


def _fewer(page_size: int, limit: int) -> tuple[int, int]:
    """Return smaller limits: of records, or if there is only one, of its related records."""
    if page_size > 1:
        return page_size // 2, limit
    if limit > 1:
        return page_size, limit // 2
    raise AnswerTooLargeError(
        f"a record and the related records that expand requests exceed {MAX_PAGE_MESSAGE_BYTES} bytes: "
        "request fewer relations, or set included_fields",
        limit=MAX_PAGE_MESSAGE_BYTES,
    )
