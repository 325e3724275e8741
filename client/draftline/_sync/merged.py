# Generated from draftline/_async/merged.py by `make generate`; never edited.
"""The lists of DraftService."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from draftline._core import draft_calls
from draftline._sync.transport import Transport
from draftline.models import (
    UNSET,
    MergedPage,
    MergedRecord,
    Unset,
    View,
    ViewName,
)


class MergedMethods(Transport):
    def get_merged(
        self,
        collection: str,
        *,
        filter: str = "",
        order_by: str = "",
        page_size: int = 0,
        record_ids: Iterable[str] = (),
        session_id: str = "",
        view: View | ViewName = View.MERGED,
        show_deleted: bool = False,
        fields: Iterable[str] = (),
        strict_fields: bool = False,
        draft_user: str = "",
        expand: Iterable[str] = (),
        expand_limit: int = 0,
        included_fields: Iterable[str] = (),
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Iterator[MergedRecord]:
        """Iterate over records with the caller's drafts applied, filtered and sorted by their merged values.

            for each in client.get_merged("movies", filter='"Major Genre" = "Drama"', order_by="Title desc"):
                print(each.record_id, each.state, each.content)

        Pages are fetched on demand, each with its own timeout and retries.

        Args:
            filter: only records that match (AIP-160); the record's own attributes are `record.state` and so on.
            order_by: the sort order (AIP-132); null and missing values come last. Empty: by record id.
            page_size: records per page; 0: 100; at most 1,000.
            record_ids: only these records, at most 1,000; empty: all.
            session_id: applies only the drafts of this session.
            view: "merged" (the default), "baseline" or "drafts_only".
            show_deleted: includes records that are deleted, or deleted by a draft.
            fields: the top-level keys of the content to return; empty: all.
            strict_fields: fails if `filter`, `order_by` or `fields` name a field that the collection does
                not seem to have. Otherwise an `UnknownFieldWarning` names it.
            draft_user: applies the drafts of this user instead of one's own; requires `draft:admin`.
            expand: related records to return too, by paths of relations such as "author" or "author.company";
                `MergedRecord.related` returns them. At most 10 paths of at most three relations each.
            expand_limit: related records of one record, by one relation; 0: 100; at most 1,000.
            included_fields: as `fields`, for the related records.

        Raises:
            InvalidFilterError: the filter does not parse; the error has the position.
            InvalidArgumentError: `order_by` has an invalid field name, `strict_fields` rejects a name,
                or `expand` has an unknown relation.
            FailedPreconditionError: the index of a relation's inverse is being built (RELATION_NOT_READY).
        """
        call = draft_calls.get_merged(
            self._tenant(tenant_id),
            collection,
            filter=filter,
            order_by=order_by,
            page_size=page_size,
            record_ids=record_ids,
            session_id=session_id,
            view=view,
            show_deleted=show_deleted,
            fields=fields,
            strict_fields=strict_fields,
            draft_user=draft_user,
            expand=expand,
            expand_limit=expand_limit,
            included_fields=included_fields,
        )
        return self._pages(call, timeout)

    def get_merged_page(
        self,
        collection: str,
        *,
        filter: str = "",
        order_by: str = "",
        page_size: int = 0,
        page_token: str = "",
        record_ids: Iterable[str] = (),
        session_id: str = "",
        view: View | ViewName = View.MERGED,
        show_deleted: bool = False,
        include_total_size: bool = False,
        fields: Iterable[str] = (),
        strict_fields: bool = False,
        draft_user: str = "",
        expand: Iterable[str] = (),
        expand_limit: int = 0,
        included_fields: Iterable[str] = (),
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> MergedPage:
        """Fetch one page of the list that `get_merged` iterates over. The other arguments are those of `get_merged`.

        Names of fields that the collection does not seem to have are in `warnings` of the first page.

            page = client.get_merged_page("movies", order_by="Title", page_size=20)
            rest = client.get_merged_page("movies", order_by="Title", page_token=page.next_page_token)

        Args:
            page_token: the `next_page_token` of the previous page; all arguments except `page_size`
                and `fields` must be unchanged. Empty: the first page.
            include_total_size: counts the whole list, which may be slow for a long one.

        Raises:
            InvalidArgumentError: the token belongs to another query or another user.
        """
        first = draft_calls.get_merged(
            self._tenant(tenant_id),
            collection,
            filter=filter,
            order_by=order_by,
            page_size=page_size,
            record_ids=record_ids,
            session_id=session_id,
            view=view,
            show_deleted=show_deleted,
            fields=fields,
            strict_fields=strict_fields,
            draft_user=draft_user,
            expand=expand,
            expand_limit=expand_limit,
            included_fields=included_fields,
        )
        call = draft_calls.get_merged_page(first, page_token=page_token, include_total_size=include_total_size)
        return self._call(call, timeout)

    def stream_merged(
        self,
        collection: str,
        *,
        filter: str = "",
        order_by: str = "",
        session_id: str = "",
        view: View | ViewName = View.MERGED,
        show_deleted: bool = False,
        fields: Iterable[str] = (),
        strict_fields: bool = False,
        expand: Iterable[str] = (),
        expand_limit: int = 0,
        included_fields: Iterable[str] = (),
        tenant_id: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[MergedRecord]:
        """Iterate over the list of `get_merged` in one streaming call, for long lists. The arguments are the same.

            votes = 0
            for each in client.stream_merged("movies", fields=["Votes"]):
                votes += each.content["Votes"]

        If the service becomes unavailable, the iteration resumes where it stopped; each record
        is yielded once. The client's default timeout does not apply, because a stream lasts as
        long as its consumer needs. To stop early, close the iterator.
        """
        call = draft_calls.stream_merged(
            self._tenant(tenant_id),
            collection,
            filter=filter,
            order_by=order_by,
            session_id=session_id,
            view=view,
            show_deleted=show_deleted,
            fields=fields,
            strict_fields=strict_fields,
            expand=expand,
            expand_limit=expand_limit,
            included_fields=included_fields,
        )
        return self._stream(call, timeout)
