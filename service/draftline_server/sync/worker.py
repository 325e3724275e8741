"""The worker of one sync: while it holds the lease, it pushes what is due and pulls what changed.

The lease makes the rate limit and the breaker exact. Correctness does not depend on it: attempts are stored, keyed and
settled by id, and merges are fenced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
from draftline.upstreams import (
    Capabilities,
    CollectionBinding,
    ThrottledError,
    UnauthorizedError,
    Upstream,
    UpstreamError,
)

from ..background.change_signal import ChangeSignal, ChangeSignals
from ..domain.content import Limits
from ..domain.errors import DraftlineError
from ..domain.sync import BoundCollection
from ..store.collections.cache import CollectionSpecs
from ..store.database import Database
from ..store.sync.attempts import Attempts
from ..store.sync.merges import Merges
from ..store.sync.progress import PulledCollection, PullProgress, SyncWork
from .breaker import Breaker, TokenBucket, asked_s
from .conversion import storable, to_binding, usable
from .counters import SyncCounters
from .failure_reports import FailureReports
from .pull import Intervals, Pull
from .push import Push, SuspendedError, unexpected
from .sending import Link
from .suitability import refuse_unsuitable
from .turns import Turns

E = TypeVar("E", bound=BaseException)

SWEEP_INTERVAL = timedelta(minutes=15)
IDLE_S = 1.0  # the longest pause without a wake-up
LOST_MARKS = 100  # at most, by a crash of the database right after they were given out
FAILED_PAUSE_S = 1.0  # after an error of the database


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection to an upstream, and the limits that the operator set."""

    upstream: Upstream
    rate_per_s: float | None = None
    parallel: int = 8
    timeout_s: float = 30.0
    is_current: Callable[[], bool] = lambda: True  # false: the endpoint was changed, so connect again


# Returns the connection of a tenant to an endpoint; raises LookupError, with the reason, if the tenant may not use it.
Connect = Callable[[str, str, Sequence[CollectionBinding]], Connection]


@dataclass(frozen=True, slots=True)
class Stores:
    """The parts that the workers of all syncs of a process share."""

    database: Database
    specs: CollectionSpecs
    limits: Limits
    signals: ChangeSignals
    counters: SyncCounters
    marks: dict[tuple[str, str], int] = field(default_factory=dict)  # the last one seen, by tenant and upstream


class SyncWorker:
    """Runs one sync until it is stopped, released or changed."""

    def __init__(self, stores: Stores, connect: Connect, tenant_id: str, upstream: str) -> None:
        self._stores = stores
        self._connect = connect
        self.tenant_id = tenant_id
        self.upstream = upstream
        self._attempts = Attempts(stores.database, tenant_id, upstream)
        self._merges = Merges(stores.database, stores.specs, stores.limits, tenant_id, upstream)
        self.progress = PullProgress(stores.database, tenant_id, upstream)
        self._described: dict[str, Capabilities] = {}
        self._is_current: Callable[[], bool] = lambda: True
        self._turns, self._read_turns = Turns(), Turns()
        self._reports = FailureReports(self.progress)

    async def run(self) -> None:
        """Work until the sync is stopped or its configuration changes. The caller holds the lease."""
        work = await self.progress.work()
        if work is None:
            return
        bindings = [to_binding(each.bound) for each in work.collections]
        try:
            connection = self._connect(self.tenant_id, work.spec.endpoint, bindings)
        except LookupError as error:
            await self._suspend("ENDPOINT_UNAVAILABLE", str(error.args[0] if error.args else error))
            return
        self._is_current = connection.is_current
        breaker = Breaker()
        self._stores.counters.breakers.add(breaker)
        link = Link(
            connection.upstream,
            breaker,
            TokenBucket(connection.rate_per_s),
            self._stores.counters,
            connection.parallel,
            connection.timeout_s,
            self._reports.note,
        )
        suspended: SuspendedError | None = None
        try:
            await self._refuse_restored(work)
            await self._run(work, link)
        except* SuspendedError as errors:
            suspended = _first(errors)
        except* UnauthorizedError as errors:
            suspended = SuspendedError("UNAUTHORIZED", str(_first(errors)))
        finally:
            with suppress(Exception):
                await connection.upstream.close()
        if suspended is not None:
            await self._suspend(suspended.reason, suspended.message)

    async def _refuse_restored(self, work: SyncWork) -> None:
        """Raise SuspendedError if the database was restored from a backup, or is a copy of another one.

        A copy has another identity, and a database that was restored gives out marks again that this process has seen.
        """
        moved_to = await self.progress.moved_to()
        restored = SuspendedError(
            "RESTORED",
            "this database was restored from a backup, moved or copied, so the upstream may hold newer writes. "
            "If it is the one to continue with, resume the sync: it reads a snapshot before it sends anything",
        )
        if is_restored := bool(moved_to) or self._has_gone_back(work):
            await self.progress.suspend_restored(restored.reason, restored.message, moved_to)
        self._stores.marks[self.tenant_id, self.upstream] = work.mark
        if is_restored:
            raise restored

    def _has_gone_back(self, work: SyncWork) -> bool:
        return work.mark + LOST_MARKS < self._stores.marks.get((self.tenant_id, self.upstream), 0)

    async def _suspend(self, reason: str, message: str) -> None:
        structlog.get_logger().warning(
            "sync_suspended", tenant_id=self.tenant_id, upstream=self.upstream, reason=reason
        )
        await self.progress.suspend(reason, storable(message))

    async def _run(self, work: SyncWork, link: Link) -> None:
        push = Push(self._stores.database, self._attempts, self._merges, link)
        pull = Pull(self.progress, self._merges, push, link)
        for each in work.collections:
            await self._attempts.take_over(each.bound.collection)
        async with asyncio.TaskGroup() as group:
            pulling = group.create_task(self._pull_loop(pull, link, work.version))
            try:
                await self._push_loop(push, link, work.version)
            finally:
                pulling.cancel()

    async def _push_loop(self, push: Push, link: Link, version: int) -> None:
        with self._stores.signals.watching(self.tenant_id) as signal:
            while not signal.closed:
                seen = signal.count
                try:
                    work = await self.progress.work()
                    if work is None or work.version != version or work.is_suspended or not self._is_current():
                        return
                    if self._has_gone_back(work):
                        return  # the next worker suspends the sync
                    self._stores.marks[self.tenant_id, self.upstream] = work.mark
                    pause_s = await self._push_once(push, link, work)
                except UpstreamError as error:
                    if isinstance(error, UnauthorizedError):
                        raise
                    pause_s = max(link.breaker.pause_s(), 0.1)
                except DraftlineError as error:
                    structlog.get_logger().warning(
                        "sync_failed", tenant_id=self.tenant_id, upstream=self.upstream, reason=type(error).__name__
                    )
                    pause_s = FAILED_PAUSE_S
                await _wait(signal, seen, pause_s)

    async def _push_once(self, push: Push, link: Link, work: SyncWork) -> float:
        """Find what is due and send it. Return how long to wait, unless the sync is woken."""
        if not work.spec.push:
            return IDLE_S
        await self._find_due(work)  # also while sending is paused: those that wait are counted
        if work.push_paused:
            return IDLE_S
        if link.breaker.pause_s():
            return min(IDLE_S, link.breaker.pause_s())
        moved = 0

        async def send(each: PulledCollection) -> None:
            nonlocal moved
            capabilities = await self._capabilities(link, each.bound, work)
            moved += await push.recheck(each.bound, capabilities)
            if self._may_push(each, capabilities, work):
                moved += await push.push(each.bound, capabilities, by_commit=work.spec.batch_by_commit)

        await self._turns.run(work.collections, send, self._failed)
        if moved:
            return 0.0
        next_due = await self._attempts.next_due([each.bound.collection for each in work.collections])
        if next_due is None:
            return IDLE_S
        wait_s = (next_due - await self._stores.database.now()).total_seconds()
        return min(IDLE_S, max(wait_s, link.breaker.pause_s(), 0.02))

    async def _find_due(self, work: SyncWork) -> None:
        """Mark what changed since the stored position of the log, and now and then compare all records."""
        names = [each.bound.collection for each in work.collections]
        now = await self._stores.database.now()
        if work.swept_at is None or now - work.swept_at >= SWEEP_INTERVAL:
            for name in names:
                await self._attempts.sweep(name)
            await self.progress.forget_gone(names)
            await self.progress.swept()
        position, more = work.position, True
        while more:
            position, more, _ = await self._attempts.mark_changed(names, position)
        if position != work.position:
            await self.progress.store_position(position)

    def _may_push(self, pulled: PulledCollection, capabilities: Capabilities, work: SyncWork) -> bool:
        """Return whether records may be sent: not before the first snapshot, which links those that exist there."""
        return pulled.snapshot_at is not None or not work.spec.pull or not capabilities.snapshots

    async def _capabilities(self, link: Link, bound: BoundCollection, work: SyncWork) -> Capabilities:
        if bound.collection not in self._described:
            described = await self._describe(link, bound.collection)
            refuse_unsuitable(bound, described, work)
            self._described[bound.collection] = described
        return self._described[bound.collection]

    async def _describe(self, link: Link, collection: str) -> Capabilities:
        try:
            async with asyncio.timeout(link.timeout_s):
                return usable(await link.upstream.describe(collection))
        except UpstreamError:
            raise
        except Exception as error:
            raise unexpected(error, self.tenant_id, self.upstream) from error

    async def _pull_loop(self, pull: Pull, link: Link, version: int) -> None:
        while True:
            pause_s = IDLE_S
            try:
                work = await self.progress.work()
                if work is None or work.version != version or work.is_suspended:
                    return
                if work.spec.pull and not work.pull_paused and not link.breaker.pause_s():
                    await self._pull_once(pull, link, work)
            except UpstreamError as error:
                if isinstance(error, UnauthorizedError):
                    raise
                pause_s = max(IDLE_S, link.breaker.pause_s())
                if isinstance(error, ThrottledError):
                    pause_s = max(pause_s, asked_s(error.after_s))
            except DraftlineError as error:
                structlog.get_logger().warning(
                    "sync_failed", tenant_id=self.tenant_id, upstream=self.upstream, reason=type(error).__name__
                )
            await asyncio.sleep(pause_s)

    async def _pull_once(self, pull: Pull, link: Link, work: SyncWork) -> None:
        intervals = Intervals(work.spec.pull_interval_s, work.spec.snapshot_interval_s)

        async def read(each: PulledCollection) -> None:
            now: datetime = await self._stores.database.now()
            capabilities = await self._capabilities(link, each.bound, work)
            await pull.run(each, capabilities, intervals, now)

        await self._read_turns.run(work.collections, read, self._failed)

    async def _failed(self, each: PulledCollection, error: Exception) -> None:
        await self._reports.note(each.bound.collection, error)


def _first(errors: BaseExceptionGroup[E]) -> E:
    """Return the first error of a group, which may be nested."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def _wait(signal: ChangeSignal, seen: int, pause_s: float) -> None:
    if pause_s > 0:
        await signal.wait_after(seen, pause_s)
    else:
        await asyncio.sleep(0)
