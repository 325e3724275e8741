# Generated from draftline/_async/matching.py by `make generate`; never edited.
"""Reads and writes of several records: by their ids, or by a filter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from draftline._core import content_calls
from draftline._core.arguments import checked_value
from draftline._core.matching import BATCH_RECORDS, MAX_RECORDS, PAGE_RECORDS, Matched, check_filter
from draftline._core.requests import checked_operations
from draftline._sync.content import ContentMethods
from draftline._sync.merged import MergedMethods
from draftline.models import (
    UNSET,
    BulkFailure,
    MatchResult,
    MergeStrategy,
    Patch,
    Record,
    StrategyName,
    Unset,
    View,
)
from draftline.operations import Operation


class MatchingMethods(ContentMethods, MergedMethods):
    def batch_get_content(
        self,
        collection: str,
        record_ids: Iterable[str],
        *,
        fields: Iterable[str] = (),
        show_deleted: bool = False,
        allow_missing: bool = False,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> dict[str, Record]:
        """Read 1 to 1,000 different records as they were at one moment, and return them by their ids.

            films = client.batch_get_content("movies", ["m-1", "m-2"], allow_missing=True)
            print({record_id: film.version for record_id, film in films.items()})

        The records are in the order of `record_ids`. A transaction that changes several of them, such as
        a batch or a commit, is seen as a whole or not at all.

        Args:
            show_deleted: returns records even if they are deleted.
            allow_missing: leaves out records that do not exist or are deleted.

        Raises:
            NotFoundError: a record does not exist or is deleted, and `allow_missing` is not set.
            InvalidArgumentError: the records exceed the size of a response; request fewer, or fewer `fields`.
        """
        call = content_calls.batch_get_content(
            self._tenant(tenant_id),
            collection,
            record_ids,
            fields=fields,
            show_deleted=show_deleted,
            allow_missing=allow_missing,
        )
        return self._call(call, timeout)

    def patch_matching(
        self,
        collection: str,
        filter: str,
        delta: Mapping[str, Any] | None = None,
        *,
        operations: Iterable[Operation] | None = None,
        strategy: MergeStrategy | StrategyName | None = None,
        depth: int = 0,
        max_records: int = MAX_RECORDS,
        validate_only: bool = False,
        change_reason: str = "",
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> MatchResult:
        """Patch all records that match a filter, in batches.

            preview = client.patch_matching("movies", "Votes < 10", {"Tags": ["rare"]}, validate_only=True)
            print(preview.matched_count, preview.record_ids[:3])
            done = client.patch_matching("movies", "Votes < 10", {"Tags": ["rare"]})

        First the ids of all matching records are read, without drafts. Then they are patched, up to 500
        in a call. Each record is patched only if it still matches, so that changes by others in the meantime are
        respected; otherwise it is counted in `skipped_count`. The whole is not one transaction: if a call
        fails, the batches before it are written. `revert` undoes a batch by its id in `commit_ids`.

        Args:
            filter: as in `get_merged`; not empty, and only fields that the collection has. The attributes of
                drafts, such as `record.state`, cannot be used.
            max_records: fails before anything is written if more records match.
            validate_only: checks every patch and returns the same result, without writing.
            timeout: of each call.

        The other arguments are those of `patch_content`.

        Raises:
            ValueError: the filter is empty, or more than `max_records` records match.
            InvalidFilterError: the filter does not parse; the error has the position.
            InvalidArgumentError: the filter names a field that the collection does not have.
        """
        operations = None if operations is None else checked_operations(operations)
        example = Patch("any", delta, operations=operations, strategy=strategy, depth=depth)
        content_calls.patch_content(  # so that a wrong argument is found before the records are read
            self._tenant(tenant_id),
            collection,
            example,
            validate_only=validate_only,
            change_reason=change_reason,
            request_id="",
        )
        matched = self._matching(collection, filter, max_records, tenant_id, timeout)
        for record_ids in matched.batches(BATCH_RECORDS):
            patches = [
                Patch(
                    record_id,
                    delta,
                    operations=operations,
                    strategy=strategy,
                    depth=depth,
                    condition=filter,
                    fields=[matched.no_field],
                )
                for record_id in record_ids
            ]
            results = self.batch_patch_content(
                collection,
                patches,
                allow_partial=True,
                validate_only=validate_only,
                change_reason=change_reason,
                tenant_id=tenant_id,
                timeout=timeout,
            )
            matched.add_patched(record_ids, results, is_preview=validate_only)
        return matched.result()

    def delete_matching(
        self,
        collection: str,
        filter: str,
        *,
        max_records: int = MAX_RECORDS,
        validate_only: bool = False,
        change_reason: str = "",
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> MatchResult:
        """Delete all records that match a filter; `undelete_content` restores each.

            preview = client.delete_matching("movies", "Votes < 10", validate_only=True)
            done = client.delete_matching("movies", "Votes < 10", max_records=preview.matched_count)

        The ids are read first, and each record is deleted only if it still matches, as in `patch_matching`,
        which describes the arguments and errors. Each deletion is a transaction of its own.

        Args:
            validate_only: returns the records that match, without deleting them.
        """
        checked_value("validate_only", validate_only, bool)
        checked_value("change_reason", change_reason, str)
        matched = self._matching(collection, filter, max_records, tenant_id, timeout)
        if validate_only:
            return matched.result()
        failures: list[BulkFailure] = []
        with self.bulk_writer(on_error=failures.append, tenant_id=tenant_id) as writer:
            for record_id in matched.record_ids:
                writer.delete(collection, record_id, condition=filter, change_reason=change_reason)
        matched.add_deleted(failures)
        return matched.result()

    def _matching(
        self, collection: str, filter: str, max_records: int, tenant_id: str | None, timeout: float | Unset | None
    ) -> Matched:
        """Return the ids of the records that match."""
        check_filter(filter, max_records)
        first = self.get_merged_page(
            collection, filter=filter, view=View.BASELINE, page_size=1, include_total_size=True, strict_fields=True,
            tenant_id=tenant_id, timeout=timeout,
        )  # fmt: skip
        matched = Matched(first.total_size or 0, max_records)
        token = ""
        while first.records and (token or not matched.record_ids):
            page = self.get_merged_page(
                collection, filter=filter, view=View.BASELINE, page_size=PAGE_RECORDS, page_token=token,
                fields=[matched.no_field], tenant_id=tenant_id, timeout=timeout,
            )  # fmt: skip
            matched.add(each.record_id for each in page.records)
            token = page.next_page_token
            if not token:
                break
        return matched
