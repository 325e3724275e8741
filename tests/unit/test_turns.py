"""Turns, against a model of whose is next."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from draftline_server.concurrency.fair_semaphore import FairSemaphore
from hypothesis import given
from hypothesis import strategies as st

TENANTS = ("a", "b", "c")
ARRIVALS = st.tuples(st.just("arrive"), st.sampled_from(TENANTS))
SIZES = st.sampled_from([(1, 0), (2, 0), (2, 1), (3, 0), (4, 1), (4, 2)])
PICKS = st.integers(0, 1_000)
COMMANDS = st.lists(
    st.one_of(ARRIVALS, ARRIVALS, st.tuples(st.just("end"), PICKS), st.tuples(st.just("cancel"), PICKS)), max_size=60
)


class TurnedAwayError(Exception):
    pass


async def settled() -> None:
    """Everybody has noticed what happened to him."""
    for _ in range(5):
        await asyncio.sleep(0)


class Crowd:
    """Numbered calls that take turns."""

    def __init__(self, most: int, kept: int = 0) -> None:
        self.turns = FairSemaphore(most, kept)
        self.running: dict[int, str] = {}
        self.waiting: dict[int, str] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._ends: dict[int, asyncio.Event] = {}

    def arrive(self, number: int, tenant_id: str) -> None:
        self._ends[number] = asyncio.Event()
        self._tasks[number] = asyncio.create_task(self._call(number, tenant_id))

    async def _call(self, number: int, tenant_id: str) -> None:
        self.waiting[number] = tenant_id
        try:
            await self.turns.acquire(tenant_id)
        finally:
            del self.waiting[number]
        self.running[number] = tenant_id
        try:
            await self._ends[number].wait()
        finally:
            del self.running[number]
            self.turns.release(tenant_id)

    def end(self, number: int) -> None:
        self._ends[number].set()

    def cancel(self, number: int) -> None:
        self._tasks[number].cancel()

    async def leave(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


@dataclass
class Model:
    """A simple model of the semaphore: the holders and the waiters."""

    most: int
    kept: int
    running: dict[int, str] = field(default_factory=dict)
    queues: list[tuple[str, list[int]]] = field(default_factory=list)  # who was served last stands last

    @property
    def waiting(self) -> dict[int, str]:
        return {number: tenant_id for tenant_id, numbers in self.queues for number in numbers}

    def has_room(self, tenant_id: str) -> bool:
        return len(self.running) < self.most - (self.kept if tenant_id in self.running.values() else 0)

    def arrive(self, number: int, tenant_id: str) -> None:
        if self.has_room(tenant_id):
            self.running[number] = tenant_id
            return
        for queued, numbers in self.queues:
            if queued == tenant_id:
                numbers.append(number)
                return
        self.queues.append((tenant_id, [number]))

    def leave(self, number: int) -> None:
        if number in self.running:
            del self.running[number]
        self.queues = [(tenant_id, [each for each in numbers if each != number]) for tenant_id, numbers in self.queues]
        self.queues = [queue for queue in self.queues if queue[1]]
        while rooms := [queue for queue in self.queues if self.has_room(queue[0])]:
            taken = list(self.running.values())
            following = min(rooms, key=lambda queue: taken.count(queue[0]))
            self.queues.remove(following)
            tenant_id, (first, *rest) = following
            self.running[first] = tenant_id
            self.queues += [(tenant_id, rest)] if rest else []


@given(sizes=SIZES, commands=COMMANDS)
def test_turns_come_to_whom_the_model_gives_them(sizes: tuple[int, int], commands: list[tuple[str, str | int]]) -> None:
    async def run() -> None:
        crowd, model = Crowd(*sizes), Model(*sizes)
        for number, (command, argument) in enumerate(commands):
            if isinstance(argument, str):
                crowd.arrive(number, argument)
                model.arrive(number, argument)
            elif present := sorted(model.running if command == "end" else {**model.running, **model.waiting}):
                chosen = present[argument % len(present)]
                crowd.end(chosen) if command == "end" else crowd.cancel(chosen)
                model.leave(chosen)
            await settled()
            assert (crowd.running, crowd.waiting) == (model.running, model.waiting)
            assert (crowd.turns.in_use, crowd.turns.waiting) == (len(model.running), len(model.waiting))
            assert crowd.turns.waiting_tenants == len(model.queues)
        await crowd.leave()
        assert (crowd.turns.in_use, crowd.turns.waiting, crowd.turns._in_use_by) == (0, 0, {})

    asyncio.run(run())


@given(sizes=SIZES, commands=COMMANDS, pauses=st.lists(st.integers(0, 3), min_size=60, max_size=60))
def test_no_turn_is_lost_whatever_happens_at_the_same_moment(
    sizes: tuple[int, int], commands: list[tuple[str, str | int]], pauses: list[int]
) -> None:
    async def run() -> None:
        crowd, arrived, (most, kept) = Crowd(*sizes), 0, sizes
        for (command, argument), pause in zip(commands, pauses, strict=False):
            if isinstance(argument, str):
                crowd.arrive(arrived, argument)
                arrived += 1
            elif arrived:
                crowd.end(argument % arrived) if command == "end" else crowd.cancel(argument % arrived)
            for _ in range(pause):
                await asyncio.sleep(0)
        await settled()
        assert crowd.turns.in_use == len(crowd.running) <= most
        assert crowd.turns.waiting == len(crowd.waiting)
        assert not crowd.waiting or len(crowd.running) >= most - kept
        await crowd.leave()
        assert (crowd.turns.in_use, crowd.turns.waiting, crowd.turns._in_use_by) == (0, 0, {})

    asyncio.run(run())


async def test_who_sends_little_comes_before_who_sends_much() -> None:
    crowd = Crowd(4)
    for number in range(100):
        crowd.arrive(number, "much")
    await settled()
    crowd.arrive(100, "little")
    await settled()
    crowd.end(0)
    await settled()
    assert crowd.running[100] == "little"
    assert crowd.turns.waiting_for("much") == 96
    assert crowd.turns.waiting_for("little") == 0
    await crowd.leave()


async def test_who_is_alone_has_all_turns_but_those_that_are_kept() -> None:
    crowd = Crowd(6, kept=2)
    for number in range(10):
        crowd.arrive(number, "much")
    await settled()
    assert sorted(crowd.running) == [0, 1, 2, 3]
    for number in range(10, 14):
        crowd.arrive(number, f"little-{number % 3}")
    await settled()
    assert sorted(crowd.running) == [0, 1, 2, 3, 10, 11]
    await crowd.leave()


async def test_who_waits_is_turned_away() -> None:
    crowd = Crowd(1)
    for number in range(4):
        crowd.arrive(number, f"t-{number}")
    await settled()
    crowd.cancel(1)
    crowd.turns.fail_waiters(TurnedAwayError)
    crowd.cancel(2)
    answers = await asyncio.gather(*(crowd._tasks[number] for number in (1, 2, 3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [asyncio.CancelledError, asyncio.CancelledError, TurnedAwayError]
    assert (list(crowd.running), crowd.turns.in_use, crowd.turns.waiting) == ([0], 1, 0)
    await crowd.leave()
