"""The state of a write of all records that match a filter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from draftline._core.arguments import checked_count, checked_value
from draftline.errors import ConditionNotMetError, NotFoundError
from draftline.models import BatchResult, BulkFailure, MatchResult, Results

MAX_RECORDS = 10_000
BATCH_RECORDS = 500
PAGE_RECORDS = 1_000

# The errors of a record that has been changed or deleted since it matched.
_SKIPPED = (ConditionNotMetError, NotFoundError)


def check_filter(filter: str, max_records: int) -> None:
    """Raise ValueError for an empty filter, which would match every record, and for a limit below 1."""
    checked_value("filter", filter, str)
    if not filter.strip():
        raise ValueError("the filter is empty and would match every record; write record.version > 0 to mean that")
    checked_count("max_records", max_records)


class Matched:
    """The records that matched, and what became of them."""

    no_field = "\x1f"  # a mask of a key that no content has in practice: the content is not returned

    def __init__(self, total: int, max_records: int) -> None:
        """Raise ValueError if too many records match."""
        self._max_records = max_records
        self._check(total)
        self.record_ids: list[str] = []
        self._commit_ids: list[str] = []
        self._changed = 0
        self._unchanged = 0
        self._skipped = 0
        self._failures: list[BulkFailure] = []

    def add(self, record_ids: Iterable[str]) -> None:
        """Add matching records. Raise ValueError if there are too many by now."""
        self.record_ids += record_ids
        self._check(len(self.record_ids))

    def batches(self, size: int) -> Iterator[list[str]]:
        for start in range(0, len(self.record_ids), size):
            yield self.record_ids[start : start + size]

    def add_patched(self, record_ids: Sequence[str], results: Results[BatchResult], *, is_preview: bool) -> None:
        if results.commit_id and not is_preview:
            self._commit_ids.append(results.commit_id)
        for record_id, each in zip(record_ids, results, strict=True):
            if each.result is not None:
                self._changed += bool(each.result.changed_fields)
                self._unchanged += not each.result.changed_fields
            elif isinstance(each.error, _SKIPPED):
                self._skipped += 1
            elif each.error is not None:
                self._failures.append(BulkFailure("", record_id, each.error))

    def add_deleted(self, failures: Sequence[BulkFailure]) -> None:
        skipped = [each for each in failures if isinstance(each.error, _SKIPPED)]
        self._failures += [each for each in failures if each not in skipped]
        self._skipped += len(skipped)
        self._changed += len(self.record_ids) - len(failures)

    def result(self) -> MatchResult:
        return MatchResult(
            matched_count=len(self.record_ids),
            changed_count=self._changed,
            unchanged_count=self._unchanged,
            skipped_count=self._skipped,
            record_ids=tuple(self.record_ids),
            commit_ids=tuple(self._commit_ids),
            failures=tuple(self._failures),
        )

    def _check(self, count: int) -> None:
        if count > self._max_records:
            raise ValueError(
                f"{count:,} records match, which is more than max_records, {self._max_records:,}: nothing was written; "
                "narrow the filter, or raise the limit"
            )
