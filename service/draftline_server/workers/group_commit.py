"""Group commit: patches that arrive while a statement is under way share the next one.

A call that finds nothing under way is not delayed. Under load groups grow by themselves: fewer, larger statements do
more in all than many small ones. Each call keeps its own outcome, deadline and error, and patches of one record keep
the order of their arrival: the next of them waits until the one before is over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, field

from ..domain.changes import Write
from ..domain.errors import DatabaseUnavailableError, DeadlineExceededError, OverloadedError
from ..domain.records import Patch, PatchResult
from ..store.engine import Database
from ..store.patches import InPlacePatches, PatchEntry, result_of
from ..store.runs import Runs, call_runs
from ..store.transaction import Rows, Transaction, call_deadline, call_tenant

SIZE = 64  # patches in a group, at most
SLOW_S = 0.02  # after which a group that is still under way no longer holds up the next one
MOST = 4  # groups of one collection under way


@dataclass(eq=False, slots=True)
class _Call:
    entry: PatchEntry
    result: asyncio.Future[PatchResult]
    deadline: float | None  # in terms of time.monotonic()
    runs: Runs | None
    group: _Group | None = None  # once it is under way

    @property
    def is_awaited(self) -> bool:
        return not self.result.done()


@dataclass(eq=False, slots=True)
class _Group:
    """Calls that share a statement."""

    calls: Sequence[_Call]
    applying: asyncio.Task[None] | None = None

    @property
    def is_awaited(self) -> bool:
        return any(call.is_awaited for call in self.calls)

    def left_by_one(self) -> None:
        """Stops the statement when nobody waits for it any more."""
        if self.applying is not None and not self.is_awaited:
            self.applying.cancel()

    @property
    def deadline(self) -> float | None:
        """The last of its calls'."""
        deadlines = [call.deadline for call in self.calls if call.deadline is not None]
        return max(deadlines) if len(deadlines) == len(self.calls) else None


@dataclass(eq=False, slots=True)
class _Lane:
    """The patches of one collection of one tenant."""

    ready: deque[_Call] = field(default_factory=deque)  # each of another record
    behind: dict[str, deque[_Call]] = field(default_factory=dict)  # by record, of which one is ready or under way
    under_way: int = 0
    slow: int = 0  # of those under way

    @property
    def has_room(self) -> bool:
        return self.under_way < min(1 + self.slow, MOST)


class GroupCommit:
    """Applies single patches in groups, and several as they are; a PatchApplier around another."""

    def __init__(self, applier: InPlacePatches, size: int = SIZE, formed: Callable[[int], None] | None = None) -> None:
        """`formed`: called with the size of each group."""
        self._applier = applier
        self._size = size
        self._formed = formed
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def apply(
        self, runner: Database | Transaction, write: Write, patches: Sequence[Patch], *, keeps_answers: bool
    ) -> Sequence[PatchResult]:
        """See PatchApplier."""
        if isinstance(runner, Transaction) or len(patches) != 1:
            return await self._applier.apply(runner, write, patches, keeps_answers=keeps_answers)
        entry = self._applier.entry(write, patches[0], keeps_answers=keeps_answers)
        key = (write.actor.tenant_id, entry.patch.collection)
        lane = self._lanes.setdefault(key, _Lane())
        call = _Call(entry, asyncio.get_running_loop().create_future(), call_deadline.get(), call_runs.get())
        if entry.patch.record_id in lane.behind:
            lane.behind[entry.patch.record_id].append(call)
        else:
            lane.behind[entry.patch.record_id] = deque()
            lane.ready.append(call)
            self._start(runner, key, lane)
        try:
            return [await call.result]
        except asyncio.CancelledError:
            if call.group is not None:
                call.group.left_by_one()
            raise

    def _start(self, database: Database, key: tuple[str, str], lane: _Lane) -> None:
        """Sends the next groups, as far as there is room for them."""
        while lane.ready and lane.has_room:
            calls: list[_Call] = []
            while lane.ready and len(calls) < self._size:
                call = lane.ready.popleft()
                if call.is_awaited:
                    calls.append(call)
                else:
                    self._follow(lane, call)
            if not calls:
                continue
            lane.under_way += 1
            group = _Group(calls)
            for call in calls:
                call.group = group
            # In a context of its own: the time of one call is not that of the group.
            context = Context()
            context.run(call_tenant.set, key[0])
            task = asyncio.get_running_loop().create_task(
                self._run(database, key, lane, group), name="group", context=context
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if not lane.behind:
            self._lanes.pop(key, None)

    async def _run(self, database: Database, key: tuple[str, str], lane: _Lane, group: _Group) -> None:
        call_deadline.set(group.deadline)
        is_slow = False

        def slow() -> None:
            nonlocal is_slow
            is_slow = True
            lane.slow += 1
            self._start(database, key, lane)

        timer = asyncio.get_running_loop().call_later(SLOW_S, slow)
        group.applying = asyncio.current_task()
        try:
            if group.is_awaited:
                if self._formed is not None:
                    self._formed(len(group.calls))
                await self._apply(database, group.calls)
        finally:
            timer.cancel()
            lane.slow -= is_slow
            lane.under_way -= 1
            for call in group.calls:
                if call.is_awaited:  # nobody waits for ever, whatever happened
                    call.result.cancel()
                self._follow(lane, call)
            self._start(database, key, lane)

    async def _apply(self, database: Database, group: Sequence[_Call]) -> None:
        try:
            rows = await self._rows(database, group)
        except (OverloadedError, DeadlineExceededError) as error:
            _fail(group, error)
        except DatabaseUnavailableError as error:
            # What became of the group is unknown. Who has a request id can try again: nothing happens twice.
            _fail([call for call in group if call.entry.write.actor.request is None], error)
            await self._apply_alone(database, [call for call in group if call.entry.write.actor.request is not None])
        except Exception as error:
            if len(group) == 1:
                _fail(group, error)
            else:  # it was rolled back; whichever patch is to blame takes no neighbour with it
                await self._apply_alone(database, group)
        else:
            for call, row in zip(group, rows, strict=True):
                if call.is_awaited:
                    try:
                        call.result.set_result(result_of(call.entry, row))
                    except Exception as error:
                        call.result.set_exception(error)

    async def _apply_alone(self, database: Database, group: Sequence[_Call]) -> None:
        async def alone(call: _Call) -> None:
            try:
                (row,) = await self._rows(database, [call])
                result = result_of(call.entry, row)
            except Exception as error:
                _fail([call], error)
            else:
                if call.is_awaited:
                    call.result.set_result(result)

        await asyncio.gather(*(alone(call) for call in group if call.is_awaited))

    async def _rows(self, database: Database, calls: Sequence[_Call]) -> Rows:
        """What the applier answers; each call is told of the statements."""
        runs = Runs()
        call_runs.set(runs)
        try:
            return await self._applier.rows(database, [call.entry for call in calls])
        finally:
            for call in calls:
                if call.runs is not None:
                    call.runs.share(runs)

    @staticmethod
    def _follow(lane: _Lane, call: _Call) -> None:
        """Makes the next patch of the same record ready, now that this one is over."""
        record_id = call.entry.patch.record_id
        waiting = lane.behind[record_id]
        while waiting:
            following = waiting.popleft()
            if following.is_awaited:
                lane.ready.append(following)
                return
        del lane.behind[record_id]


def _fail(calls: Sequence[_Call], error: Exception) -> None:
    for call in calls:
        if call.is_awaited:
            call.result.set_exception(error)
