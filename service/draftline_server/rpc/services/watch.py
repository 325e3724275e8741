"""WatchChanges: streams of a tenant's change log or of a user's merged view."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from draftline.v1 import change_pb2, draft_pb2

from ...background.change_signal import ChangeSignal, ChangeSignals
from ...background.shared_log_reader import SharedLogReader, SharedLogReaders
from ...concurrency.fair_semaphore import FairSemaphore
from ...domain.errors import DrainingError, InvalidFieldError, OverloadedError
from ...domain.filters.ast import FilterError
from ...domain.filters.named_fields import named_fields
from ...domain.filters.parser import parse_filter
from ...domain.merged import MAX_PAGE_SIZE, MergedQuery
from ...domain.records import Actor
from ...store.change_log.feed import MAX_PAGE_BYTES, Feed, FeedPage, LogPosition, Scope
from ...store.lists.field_names import FieldNames
from ...store.lists.merged import MergedStore
from ...store.page_tokens import PageTokens
from ...store.record_errors import invalid_filter
from ..mapping.changes import to_change, to_change_filter
from ..mapping.drafts import fill_merged, to_field_warning
from ..response_size import MAX_PAGE_MESSAGE_BYTES, TAG_BYTES

RESERVED_DIVISOR = 4  # 1/RESERVED_DIVISOR of the watchers is reserved for tenants with none
MERGED = change_pb2.WATCH_VIEW_MERGED


@dataclass(frozen=True, slots=True)
class WatchOptions:
    heartbeat_s: float  # between two heartbeat messages
    max_watchers: int  # concurrent watchers


class Watches:
    """Serves the watchers of this process."""

    def __init__(
        self,
        feed: Feed,
        merged: MergedStore,
        field_names: FieldNames,
        signals: ChangeSignals,
        *,
        page_tokens: PageTokens,
        options: WatchOptions,
    ) -> None:
        self._feed = feed
        self._merged = merged
        self._field_names = field_names
        self._signals = signals
        self._readers = SharedLogReaders(feed)
        self._page_tokens = page_tokens
        self._options = options
        self._slots = FairSemaphore(options.max_watchers, options.max_watchers // RESERVED_DIVISOR)

    @property
    def count(self) -> int:
        """The number of active watchers."""
        return self._slots.in_use

    async def watch(
        self, request: change_pb2.WatchChangesRequest, actor: Actor
    ) -> AsyncIterator[change_pb2.WatchChangesResponse]:
        """Yield the messages of a watcher. Raises OverloadedError at the limit of watchers.

        When the server stops, yield a last token and raise DrainingError.
        """
        if not self._slots.try_acquire(actor.tenant_id):
            raise OverloadedError(
                f"{self._slots.in_use} of {self._options.max_watchers} watchers are connected, and the others are "
                "reserved for tenants without any; try again later or on another server"
            )
        try:
            with self._signals.watching(actor.tenant_id) as signal:
                watch = await self._started(request, actor)
                with self._readers.of(watch.scope, signal) as reader:
                    yield watch.message(warnings=await self._warnings(request, actor))
                    async for message in self._messages(watch, signal, reader):
                        yield message
        finally:
            self._slots.release(actor.tenant_id)
        raise DrainingError("the server is shutting down; watch again on another server with the last resume_token")

    async def _messages(
        self, watch: _Watch, signal: ChangeSignal, reader: SharedLogReader
    ) -> AsyncIterator[change_pb2.WatchChangesResponse]:
        """Yield changes, and heartbeats while there are none, until the server stops."""
        clock = asyncio.get_running_loop().time
        due = clock() + self._options.heartbeat_s
        while not signal.closed:
            count = signal.count
            page = await reader.read(watch.position, count)
            if page.entries:
                async for message in watch.messages(page):
                    yield message
                due = clock() + self._options.heartbeat_s
            watch.position = page.end
            if clock() >= due:  # also after wake-ups for changes that the watcher does not see
                yield watch.message()
                due = clock() + self._options.heartbeat_s
            if not page.more and not await signal.wait_after(count, due - clock()):
                signal.wake()  # read again, in case a notification was lost
        yield watch.message()

    async def _started(self, request: change_pb2.WatchChangesRequest, actor: Actor) -> _Watch:
        bound = [
            "watch", actor.tenant_id, request.collection, request.view, request.filter,
            actor.user_id if request.view == MERGED else "",
        ]  # fmt: skip
        if request.resume_token:
            xact, change_id = self._page_tokens.open(bound, request.resume_token, "resume_token")
            position = LogPosition(int(xact or 0), int(change_id or 0))
            await self._feed.check(position)
        else:
            position = await self._feed.now()
        seal = partial(self._page_tokens.seal, bound)
        if request.view != MERGED:
            scope = Scope(actor.tenant_id, request.collection, with_values=not request.omit_values)
            scope = scope.filtered(to_change_filter(request.filter))
            return _ChangesWatch(scope, position, seal, request, actor)
        if not request.collection:
            raise InvalidFieldError.of("collection", "must be set to watch a merged view")
        scope = Scope(actor.tenant_id, request.collection, drafts_of=actor.user_id, with_values=False)
        watch = _MergedWatch(scope, position, seal, request, actor, self._merged)
        await watch.check()
        return watch

    async def _warnings(self, request: change_pb2.WatchChangesRequest, actor: Actor) -> list[draft_pb2.FieldWarning]:
        if request.view != MERGED or request.resume_token:
            return []
        named = named_fields(parse_filter(request.filter), (), request.fields)
        return [to_field_warning(each) for each in await self._field_names.unknown(actor, request.collection, named)]


@dataclass(slots=True)
class _Watch(ABC):
    """One watcher: its scope and its position in the log."""

    scope: Scope
    position: LogPosition
    seal: Callable[[Sequence[int]], str]
    request: change_pb2.WatchChangesRequest
    actor: Actor

    def message(self, **parts: Any) -> change_pb2.WatchChangesResponse:
        token = self.seal([self.position.xact, self.position.change_id])
        return change_pb2.WatchChangesResponse(resume_token=token, **parts)

    @abstractmethod
    def messages(self, page: FeedPage) -> AsyncIterator[change_pb2.WatchChangesResponse]:
        """Yield the messages for a page. The last one moves the watcher's position to the end of the page."""


class _ChangesWatch(_Watch):
    async def messages(self, page: FeedPage) -> AsyncIterator[change_pb2.WatchChangesResponse]:
        changes: list[change_pb2.Change] = []
        size = 0
        for entry in page.entries:
            if entry.change is None:
                continue
            change = to_change(entry.change, self.actor.tenant_id, self.request.response_encoding)
            size += change.ByteSize() + TAG_BYTES
            if changes and size > MAX_PAGE_MESSAGE_BYTES:
                yield self.message(changes=changes)
                changes, size = [], change.ByteSize()
            changes.append(change)
            self.position = entry.position
        self.position = page.end
        yield self.message(changes=changes)


@dataclass(slots=True)
class _MergedWatch(_Watch):
    merged: MergedStore

    async def check(self) -> None:
        """Raise InvalidFilterError for an invalid filter now, not at the first change."""
        await self.merged.page(self.actor, self._query(("-",)), 1, "")

    async def messages(self, page: FeedPage) -> AsyncIterator[change_pb2.WatchChangesResponse]:
        """Yield the current records in as many messages as needed. Only the last one advances the resume token."""
        record_ids = tuple(dict.fromkeys(entry.record_id for entry in page.entries))
        query, token, missing = self._query(record_ids), "", dict.fromkeys(record_ids)
        while True:
            merged_page = await self.merged.page(self.actor, query, MAX_PAGE_SIZE, token, max_bytes=MAX_PAGE_BYTES)
            records = []
            for record in merged_page.records:
                missing.pop(record.record.record_id, None)
                change = change_pb2.MergedChange(record_id=record.record.record_id)
                fill_merged(change.record, record, self.actor, self.request)
                records.append(change)
            token = merged_page.next_page_token
            if not token:
                break
            yield self.message(merged=records)
        self.position = page.end
        yield self.message(merged=[*records, *(change_pb2.MergedChange(record_id=record_id) for record_id in missing)])

    def _query(self, record_ids: tuple[str, ...]) -> MergedQuery:
        try:
            condition = parse_filter(self.request.filter)
        except FilterError as error:
            raise invalid_filter("filter", error) from None
        return MergedQuery(self.request.collection, condition, self.request.filter, record_ids=record_ids)
