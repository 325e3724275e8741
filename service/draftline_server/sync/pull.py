"""Pull: read changes and snapshots of an upstream page by page, and merge them."""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from draftline.upstreams import (
    Capabilities,
    CursorExpiredError,
    Page,
    ThrottledError,
    UnreachableError,
    UpstreamError,
)

from ..domain.sync import Answer, BoundCollection, MergeResult, deletion_limit
from ..store.sync.merges import CreationsOutError, Merges, ReadExpiredError
from ..store.sync.progress import PulledCollection, PullProgress
from ..store.transaction import Transaction
from .breaker import asked_s
from .conversion import is_storable_id, to_answer
from .push import MAX_LOOKED_UP, WENT_BACK, Push, SuspendedError, unexpected
from .sending import Link

CHUNK = 1_000  # records that one transaction merges
MAX_RESUMED = 10  # requests of a snapshot that may fail in a row
RESUME_S = 0.1  # before one is sent again, at least
HASH_MASK = 2**64 - 1
BUCKETS = 256


class UnstorableIdError(Exception):
    """A record of the upstream has an id that the database cannot store, such as one with a NUL."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """The seconds between two reads of changes, and between two snapshots."""

    changes_s: float
    snapshot_s: float


class Pull:
    """Reads one sync's collections at the upstream."""

    def __init__(self, progress: PullProgress, merges: Merges, push: Push, link: Link) -> None:
        self._progress = progress
        self._merges = merges
        self._push = push
        self._link = link

    async def run(
        self, pulled: PulledCollection, capabilities: Capabilities, intervals: Intervals, now: datetime
    ) -> bool:
        """Read what is due of a collection; return whether something was. Raises UpstreamError and SuspendedError."""
        wants_snapshot = pulled.requested == "SNAPSHOT" or _is_due(pulled.snapshot_at, intervals.snapshot_s, now)
        if capabilities.snapshots and wants_snapshot:
            await self.snapshot(pulled, capabilities)
            return True
        if capabilities.changes and (
            pulled.requested == "CHANGES" or _is_due(pulled.pulled_at, intervals.changes_s, now)
        ):
            await self.changes(pulled, capabilities)
            return True
        return False

    async def changes(self, pulled: PulledCollection, capabilities: Capabilities) -> None:
        """Read the changes after the stored cursor to their end. Each page's cursor is stored with its last records."""
        bound = pulled.bound
        try:
            pages = self._link.upstream.changes(bound.collection, pulled.cursor)
            async for page, mark in self._marked(pages, capabilities, "changes"):
                await self._merge_page(bound, page, mark, capabilities, page.cursor)
        except CursorExpiredError:
            await self._progress.forget_cursor(bound.collection)
            return
        except (CreationsOutError, ReadExpiredError):
            return  # the page is read again: when the creations have ended, or by a new read
        await self._progress.changes_read(bound.collection)

    async def snapshot(self, pulled: PulledCollection, capabilities: Capabilities) -> None:
        """Read all records, merge them, and delete here what does not exist there any more.

        Nothing is deleted if the upstream was restored from a backup, which lacks records without their deletion.
        """
        bound, seen = pulled.bound, SeenIds()
        older: dict[str, str] = {}
        start = await self._merges.mark()
        cursor: str | None = None
        try:
            async for page, mark in self._snapshot_pages(bound.collection, capabilities):
                results = await self._merge_page(bound, page, mark, capabilities, None)
                for each in results:
                    if each.deferral == WENT_BACK and len(older) < MAX_LOOKED_UP:
                        older[each.remote_id] = each.record_id
                seen.add(each.remote_id for each in page.records)
                cursor = page.changes_cursor or cursor
        except (CreationsOutError, ReadExpiredError):
            return
        if older:
            await self._push.refuse_older(bound, capabilities, older)
        await self._delete_missing(pulled, capabilities, seen, start)
        await self._progress.snapshot_read(bound.collection, cursor)

    async def _snapshot_pages(self, collection: str, capabilities: Capabilities) -> AsyncIterator[tuple[Page, int]]:
        """Yield the pages of a snapshot with their marks; continue after the last page if a request fails.

        A system that limits the rate of requests may reject some of a long snapshot: from the beginning again, it would
        never end. Raises the error if there is no position to continue at, or after MAX_RESUMED requests in a row.
        """
        cursor: str | None = None
        failures = 0
        while True:
            try:
                pages = self._link.upstream.snapshot(collection, cursor)
                async for page, mark in self._marked(pages, capabilities, "snapshot"):
                    yield page, mark
                    cursor, failures = page.cursor, 0 if page.records else failures
            except (ThrottledError, UnreachableError) as error:
                failures += 1
                if cursor is None or failures > MAX_RESUMED:
                    raise
                wait_s = asked_s(error.after_s) if isinstance(error, ThrottledError) else 0.0
                await asyncio.sleep(max(wait_s, self._link.breaker.pause_s(), RESUME_S))
            else:
                return

    async def _marked(
        self, pages: AsyncIterator[Page], capabilities: Capabilities, kind: str
    ) -> AsyncIterator[tuple[Page, int]]:
        """Yield each page with a mark from before the first one was requested.

        A system may read all pages when the first one is requested, or while an earlier page is merged, as a stream
        does. So what became known since then may be newer than any page.
        """
        link = self._link
        mark = await self._merges.mark()
        if capabilities.read_lag_s:
            await asyncio.sleep(capabilities.read_lag_s)
        while True:
            await link.bucket.take()
            try:
                with link.counters.request(kind):
                    page = await anext(pages, None)
            except CursorExpiredError:
                raise
            except UpstreamError as error:
                link.breaker.failed(error.after_s if isinstance(error, ThrottledError) else None)
                raise
            except Exception as error:
                link.breaker.failed()
                raise unexpected(error, self._progress.tenant_id, self._progress.upstream) from error
            if link.breaker.succeeded():
                await self._progress.reached()
            if page is None:
                return
            yield page, mark

    async def _merge_page(
        self, bound: BoundCollection, page: Page, mark: int, capabilities: Capabilities, cursor: str | None
    ) -> Sequence[MergeResult]:
        """Merge a page in chunks; the cursor is stored in the transaction of the last one. Return the results."""

        async def store_cursor(transaction: Transaction) -> None:
            if cursor is not None:
                await self._progress.store_cursor(transaction, bound.collection, cursor)

        if not all(is_storable_id(each.remote_id) for each in page.records):
            raise unexpected(UnstorableIdError(), self._progress.tenant_id, self._progress.upstream)
        answers = [to_answer(each) for each in page.records]
        chunks = [answers[start : start + CHUNK] for start in range(0, len(answers), CHUNK)] or [[]]
        merged: list[MergeResult] = []
        for number, chunk in enumerate(chunks, 1):
            results = await self._merges.merge(
                bound,
                chunk,
                mark,
                is_ordered=capabilities.ordered_versions,
                needs_references=not capabilities.client_reference,
                and_then=store_cursor if number == len(chunks) else None,
            )
            self._link.counters.merged(results)
            merged += results
        return merged

    async def _delete_missing(
        self, pulled: PulledCollection, capabilities: Capabilities, seen: SeenIds, start: int
    ) -> None:
        """Look up the linked records that a snapshot did not contain, and delete those that are missing.

        Raises SuspendedError if they are more than the limit; none is deleted then.
        """
        bound, known, missing = pulled.bound, 0, dict[str, str]()
        async for linked in self._progress.linked(bound.collection, start):
            known += len(linked)
            missing |= {remote_id: record_id for record_id, remote_id in linked if remote_id not in seen}
        limit = deletion_limit(known) + pulled.allowed_deletions
        if known and not len(seen) and len(missing) > pulled.allowed_deletions:
            raise SuspendedError(
                "DELETIONS_HELD",
                f"the snapshot of {bound.collection!r} is empty, but {known} records are known to exist there; "
                f"if that is right, run a snapshot that allows {known} deletions",
            )
        confirmed: list[Answer] = []
        items = list(missing.items())
        for first in range(0, len(items), MAX_LOOKED_UP):
            part = dict(items[first : first + MAX_LOOKED_UP])
            confirmed += await self._push.find_deleted(bound, capabilities, part)
            if len(confirmed) > limit:
                raise SuspendedError(
                    "DELETIONS_HELD",
                    f"the snapshot of {bound.collection!r} lacks {len(missing)} of {known} records, more than the "
                    f"limit of {limit}; none was deleted. If that is right, run a snapshot that allows {len(missing)} "
                    "deletions",
                )
        for first in range(0, len(confirmed), MAX_LOOKED_UP):
            part = {each.remote_id: each.record_id for each in confirmed[first : first + MAX_LOOKED_UP]}
            await self._push.look_up(bound, capabilities, part)


class SeenIds:
    """Remote ids of a snapshot, as hashes of 8 bytes. Two ids with one hash hide a deletion once.

    They are sorted in buckets when they are first searched, so that a million of them take little more than 8 MB.
    """

    def __init__(self) -> None:
        self._buckets = [array("Q") for _ in range(BUCKETS)]
        self._is_sorted = True

    def add(self, remote_ids: Iterable[str]) -> None:
        for value in map(_hash, remote_ids):
            self._buckets[value % BUCKETS].append(value)
        self._is_sorted = False

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    def __contains__(self, remote_id: str) -> bool:
        if not self._is_sorted:
            self._buckets = [array("Q", sorted(bucket)) for bucket in self._buckets]
            self._is_sorted = True
        value = _hash(remote_id)
        bucket = self._buckets[value % BUCKETS]
        index = bisect_left(bucket, value)
        return index < len(bucket) and bucket[index] == value


def _hash(remote_id: str) -> int:
    return hash(remote_id) & HASH_MASK


def _is_due(last: datetime | None, interval_s: float, now: datetime) -> bool:
    return last is None or (now - last).total_seconds() >= interval_s
