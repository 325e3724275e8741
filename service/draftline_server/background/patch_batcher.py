"""Group commit: patches that arrive while a statement is running share the next one (see batcher.py).

Patches of one record are applied in the order of their arrival. A patch that fails does not fail the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass

from ..concurrency.call_context import remaining_s
from ..concurrency.fair_semaphore import FairSemaphore
from ..domain.changes import Write
from ..domain.errors import (
    ContentionError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    OverloadedError,
    StorageFullError,
)
from ..domain.records import Patch, PatchResult
from ..store.database import Database
from ..store.driver_errors import LeftAloneError, was_undone
from ..store.in_place_patches import WAITING, InPlacePatches, PatchEntry, Terms, result_of, size_of, steps_of
from ..store.pool_settings import PoolSettings
from ..store.relations.references import Key
from ..store.transaction import Transaction
from .batcher import SIZE, Batcher, shared
from .lanes import Call, Submission


@dataclass(eq=False, slots=True)
class _Patch:
    database: Database
    entry: PatchEntry

    @property
    def has_id(self) -> bool:
        return self.entry.write.actor.request is not None


EXPENSIVE, FAILED = "EXPENSIVE", "FAILED"  # in addition to the causes that patch_content returns
MAX_SIZE = 32 * 1024  # maximum characters of the change and the condition of a patch in a group
MAX_STEPS = 64  # maximum passes over the content that a patch in a group makes; see steps_of
SHARING_PLAIN = Terms(waits=False, plain=True)
FOLDED = Terms(waits=False, folded=True)
SHARING = Terms(waits=False)
SHARING_WITHOUT_CREATION = Terms(waits=False, creates=False)

_Calls = Sequence[Call[_Patch, PatchResult]]


class PatchBatcher:
    """A PatchApplier that wraps another: it applies single patches in groups and passes several on unchanged.

    Invariants:
    - A group of different records waits for no row, and at most 25 ms for any other lock. A group of one record waits
      at most 25 ms for it. A patch that a group leaves out is sent alone, in its own statement, which may wait as long
      as any statement.
    - Patches that are sent alone use limited shares of the connections, one for those that wait for locks and one for
      those that take long, so neither takes the connections that groups need.
    - A patch never fails with the error of another: when PostgreSQL has rolled back a group, each of its patches is
      sent again, alone.
    """

    def __init__(
        self, applier: InPlacePatches, size: int = SIZE, on_batch: Callable[[int], None] | None = None
    ) -> None:
        """Create a batcher around `applier`. `on_batch` is called with the size of each group."""
        self._applier = applier
        self._groups = Batcher(self._apply, size, on_batch, self._apply_alone, self._apply_folded)
        self._waiting_share: ConnectionShare | None = None
        self._long_share: ConnectionShare | None = None

    async def apply(
        self, runner: Database | Transaction, write: Write, patches: Sequence[Patch], *, stores_responses: bool,
        locked: Collection[Key] | None = None,
    ) -> Sequence[PatchResult]:  # fmt: skip
        """Apply patches as PatchApplier defines it."""
        if isinstance(runner, Transaction) or len(patches) != 1:
            return await self._applier.apply(runner, write, patches, stores_responses=stores_responses, locked=locked)
        (patch,) = patches
        lane = (write.actor.tenant_id, patch.collection)
        own = self._submission(runner, write, patch, stores_responses=stores_responses)
        return [await self._groups.submit(lane, own.ordering_key, own.item, own.alone, folds=own.folds)]

    async def apply_each(
        self,
        database: Database,
        patches: Sequence[tuple[Write, Patch]],
        ended: Callable[[int, PatchResult | BaseException], None],
    ) -> None:
        """Apply patches of one collection as SharingApplier defines it."""
        write, first = patches[0]
        submissions = [self._submission(database, write, patch, stores_responses=True) for write, patch in patches]
        await self._groups.submit_all((write.actor.tenant_id, first.collection), submissions, ended)

    def _submission(
        self, database: Database, write: Write, patch: Patch, *, stores_responses: bool
    ) -> Submission[_Patch]:
        entry = self._applier.entry(write, patch, stores_responses=stores_responses)
        is_long = size_of(entry) > MAX_SIZE or steps_of(patch.change) > MAX_STEPS
        return Submission(patch.record_id, _Patch(database, entry), EXPENSIVE if is_long else "", entry.folds)

    async def _apply(self, group: _Calls) -> None:
        plain = [call for call in group if call.item.entry.is_plain]
        if plain:
            await self._send(plain, self._apply_plain)
        others = [call for call in group if call.is_awaited and not call.alone]
        if others:
            await self._send(others, self._apply_shared)

    async def _apply_plain(self, group: _Calls) -> None:
        """Apply plain patches; those that stay awaited are for _apply_shared."""
        with suppress(ContentionError):
            await self._apply_at_once(group, SHARING_PLAIN)

    async def _apply_folded(self, group: _Calls) -> None:
        """Apply patches of one record, in order. Those that stay awaited are sent one after the other."""

        async def apply(calls: _Calls) -> None:
            with suppress(ContentionError):
                await self._apply_at_once(calls, FOLDED)

        await self._send(group, apply)

    async def _apply_shared(self, group: _Calls) -> None:
        try:
            await self._apply_at_once(group, SHARING)
        except ContentionError:
            # Another transaction created something concurrently, most likely a record: retry without creations.
            await self._apply_at_once(group, SHARING_WITHOUT_CREATION)

    async def _send(self, group: _Calls, apply: Callable[[_Calls], Awaitable[None]]) -> None:
        """Apply a group in one statement; an error of it fails no call that can be sent again alone."""
        try:
            await apply(group)
        except (OverloadedError, StorageFullError) as error:
            _fail(group, error)
        except DeadlineExceededError as error:
            now = time.monotonic()
            ended = [call for call in group if call.deadline is not None and call.deadline <= now]
            _fail(ended, error)
            if was_undone(error):
                _leave(group, EXPENSIVE)
            self._leave_requests(group, error, EXPENSIVE)
        except DatabaseUnavailableError as error:
            self._leave_requests(group, error, FAILED)
        except Exception:  # it was rolled back; send each patch alone, so only the one at fault fails
            _leave(group, FAILED)

    @staticmethod
    def _leave_requests(group: _Calls, error: Exception, cause: str) -> None:
        """Mark the calls with a request id to be sent alone, and fail the others.

        A request id prevents a patch from being applied twice. Without one, the outcome of the group is unknown.
        """
        _leave([call for call in group if call.item.has_id], cause)
        _fail([call for call in group if not call.alone], error)

    async def _apply_at_once(self, calls: _Calls, terms: Terms) -> None:
        entries = [call.item.entry for call in calls]
        rows = await shared(calls, self._applier.rows(calls[0].item.database, entries, terms))
        for call, entry, row in zip(calls, entries, rows, strict=True):
            if row is None and terms.leaves:
                continue
            try:
                result = result_of(entry, row)
            except LeftAloneError as left:
                call.alone = left.cause
            except Exception as error:
                call.fail(error)
            else:
                call.succeed(result)

    async def _apply_alone(self, call: Call[_Patch, PatchResult]) -> None:
        try:
            async with self._share_of(call):
                await self._apply_at_once([call], WAITING)
        except Exception as error:
            call.fail(error)

    def _share_of(self, call: Call[_Patch, PatchResult]) -> AbstractAsyncContextManager[None]:
        if self._waiting_share is None or self._long_share is None:
            settings = call.item.database.settings
            self._waiting_share, self._long_share = ConnectionShare(settings), ConnectionShare(settings)
        share = self._long_share if call.alone == EXPENSIVE else self._waiting_share
        return share.hold(call.item.entry.write.actor.tenant_id)


class ConnectionShare:
    """A share of the connections for patches that are sent alone, divided fairly among tenants."""

    def __init__(self, settings: PoolSettings) -> None:
        limit = max(1, settings.size // 4)
        self._permits = FairSemaphore(limit, limit // 4)
        self._limit_s = settings.lock_timeout_s

    @asynccontextmanager
    async def hold(self, tenant_id: str) -> AsyncIterator[None]:
        """Hold a permit for one of the connections while the context is open.

        Raise ContentionError if no permit becomes free within the lock timeout, DeadlineExceededError if the call's
        deadline ends first.
        """
        remaining = remaining_s()
        try:
            async with asyncio.timeout(self._limit_s if remaining is None else min(remaining, self._limit_s)):
                await self._permits.acquire(tenant_id)
        except TimeoutError as error:
            remaining_s()
            problem = (
                "too many writes of this tenant are waiting for records that other calls have locked; "
                "nothing was changed, try again later"
            )
            raise ContentionError(problem) from error
        try:
            yield
        finally:
            self._permits.release(tenant_id)


def _fail(calls: _Calls, error: Exception) -> None:
    for call in calls:
        call.fail(error)


def _leave(calls: _Calls, cause: str) -> None:
    for call in calls:
        call.alone = cause
