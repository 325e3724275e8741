"""The lists of DraftService, blocking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from draftline import draft_calls
from draftline.draft_models import MergedPage, MergedRecord, View
from draftline.models import UNSET, Unset
from draftline.sync.transport import Transport


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
        view: View | str = View.MERGED,
        show_deleted: bool = False,
        fields: Iterable[str] = (),
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Iterator[MergedRecord]:
        """Iterates over records as you see them: with your drafts applied, filtered and sorted by what they make.

            for each in client.get_merged("movies", filter='"Major Genre" = "Drama"', order_by="Title desc"):
                print(each.record_id, each.state, each.content)

        Pages are fetched as the iteration needs them, each with its own timeout and retries.

        Args:
            filter: which records (AIP-160); the record's own attributes are `record.state` and so on.
            order_by: in which order (AIP-132); null and missing come last. Empty: by record id.
            page_size: how many are fetched at a time; 0: 100; at most 1,000.
            record_ids: only these, at most 1,000; empty: all.
            session_id: applies only the drafts of this session.
            view: "merged" (the default), "baseline" or "drafts_only".
            show_deleted: shows what is deleted, or deleted by a draft, as well.
            fields: the top-level keys of the content wanted back; empty: all.

        Raises:
            InvalidFilterError: the filter does not parse; it tells the position.
            InvalidArgumentError: an order by what is no name.
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
        view: View | str = View.MERGED,
        show_deleted: bool = False,
        include_total_size: bool = False,
        fields: Iterable[str] = (),
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> MergedPage:
        """Fetches one page of that list. The other arguments are those of `get_merged`.

            page = client.get_merged_page("movies", order_by="Title", page_size=20)
            rest = client.get_merged_page("movies", order_by="Title", page_token=page.next_page_token)

        Args:
            page_token: the `next_page_token` of the page before, with the other arguments as
                they were but for `page_size` and `fields`; empty: the first page.
            include_total_size: counts the whole list, which takes as long as it takes.

        Raises:
            InvalidArgumentError: the token is of another query, or of another user.
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
        view: View | str = View.MERGED,
        show_deleted: bool = False,
        fields: Iterable[str] = (),
        tenant_id: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[MergedRecord]:
        """Iterates over the same list in one call, for long ones. The arguments are those of `get_merged`.

            votes = sum(each.content["Votes"] for each in client.stream_merged("movies", fields=["Votes"]))

        If the service goes away meanwhile, the iteration goes on where it was; each record
        comes once. The client's default timeout does not apply: a stream takes as long as
        its reader. To leave off early, close the iterator or drop it.
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
        )
        return self._stream(call, timeout)
