"""Calls are admitted, queued, or rejected immediately."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from draftline_server.domain.errors import DeadlineExceededError, DraftlineError, DrainingError, OverloadedError
from draftline_server.rpc import admission as admission_module
from draftline_server.rpc.admission import Admission, AdmissionOptions

LONG_S = 3_600.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(admission_module, "time", clock)
    return clock


class House:
    """Calls that are let in, and stay until they are told to go."""

    def __init__(self, most: int, most_waiting: int, most_wait_s: float = LONG_S) -> None:
        self.admission = Admission(AdmissionOptions(most, most_waiting, most_wait_s))
        self.inside: list[asyncio.Task[None]] = []
        self.ends: list[asyncio.Event] = []

    async def call(self, tenant_id: str, time_left_s: float | None = LONG_S) -> asyncio.Task[None]:
        """A call that was let in, or waits, or was refused by now."""
        end = asyncio.Event()

        async def run() -> None:
            async with self.admission.slot(tenant_id, time_left_s):
                self.ends.append(end)
                await end.wait()

        task = asyncio.create_task(run())
        self.inside.append(task)
        await settled()
        return task

    async def calls(self, count: int, tenant_id: str) -> list[asyncio.Task[None]]:
        return [await self.call(tenant_id) for _ in range(count)]

    async def busy(self, clock: Clock, per_s: float) -> None:
        """A while in which so many end in a second, and another comes for each; three wait all along."""
        await self.calls(4, "acme")
        for _ in range(20):
            clock.now_s += 1 / per_s
            await self.end()
            await self.call("acme")

    async def end(self, count: int = 1) -> None:
        """Ends those that have run for longest."""
        for _ in range(count):
            self.ends.pop(0).set()
            await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def house(most: int, most_waiting: int, most_wait_s: float = LONG_S) -> AsyncIterator[House]:
    opened = House(most, most_waiting, most_wait_s)
    yield opened
    for task in opened.inside:
        task.cancel()
    await asyncio.gather(*opened.inside, return_exceptions=True)


def refusals(tasks: list[asyncio.Task[None]]) -> list[DraftlineError]:
    errors = [task.exception() for task in tasks if task.done()]
    assert all(isinstance(error, DraftlineError) for error in errors)
    return errors  # type: ignore[return-value]


async def test_call_runs_at_once_while_there_is_room() -> None:
    async with house(3, 0) as opened:
        tasks = await opened.calls(4, "acme")
        assert len(opened.ends) == 3
        assert [type(error) for error in refusals(tasks)] == [OverloadedError]


async def test_one_tenant_leaves_as_much_room_to_wait_as_it_takes() -> None:
    async with house(1, 8) as opened:
        large = await opened.calls(10, "large")
        assert len(refusals(large)) == 5  # one runs, four wait
        assert len(refusals(await opened.calls(5, "small"))) == 3  # of the four places left
        assert len(refusals(await opened.calls(2, "tiny"))) == 1
        assert len(refusals(await opened.calls(2, "last"))) == 1
        assert refusals(await opened.calls(1, "late")) != []  # eight wait


async def test_refusal_tells_to_come_later_the_more_wait(clock: Clock) -> None:
    async with house(1, 100, 20.0) as opened:
        delays_s = []
        await opened.busy(clock, 10.0)
        for count in (20, 40):
            await opened.calls(count, "acme")
            clock.now_s += 0.2
            (error,) = refusals([await opened.call("acme", 0.001)])
            assert isinstance(error, OverloadedError)
            delays_s.append(error.retry_after_s)
    assert 0.1 < delays_s[0] < delays_s[1] <= 10.0


async def test_call_that_would_wait_longer_than_it_has_is_refused_at_once(clock: Clock) -> None:
    async with house(1, 100) as opened:
        await opened.busy(clock, 10.0)
        await opened.calls(7, "acme")  # ten wait
        assert [type(each) for each in refusals([await opened.call("acme", 0.5)])] == [OverloadedError]
        assert refusals([await opened.call("acme", 2.0)]) == []
        assert refusals([await opened.call("other", 0.5)]) == []  # it is the next but one


async def test_call_that_would_wait_longer_than_anyone_may_is_refused_at_once(clock: Clock) -> None:
    async with house(1, 100, 1.1) as opened:
        await opened.busy(clock, 5.0)
        assert len(refusals(await opened.calls(5, "acme"))) == 3  # three waited, five can
        assert len(refusals(await opened.calls(3, "other"))) == 1  # every other turn is theirs


async def test_slow_calls_are_no_stall(clock: Clock) -> None:
    """Do not reject calls because no call has ended for a moment."""
    async with house(1, 100, 30.0) as opened:
        await opened.calls(2, "acme")
        clock.now_s += 1.0
        assert refusals([await opened.call("acme")]) == []
        clock.now_s += 100.0
        assert [type(each) for each in refusals([await opened.call("acme")])] == [OverloadedError]
        await opened.end(3)
        assert refusals([await opened.call("acme")]) == []  # nobody waits any more: all is new


async def test_call_waits_for_so_long_and_no_longer() -> None:
    async with house(1, 100, 0.01) as opened:
        _, task = await opened.calls(2, "acme")
        with pytest.raises(OverloadedError, match="nothing was done"):
            await asyncio.wait_for(task, 30)
        await opened.end()
        assert len(opened.ends) == 0
        await opened.call("acme")
        assert len(opened.ends) == 1


async def test_call_without_time_is_refused_as_such() -> None:
    async with house(1, 8) as opened:
        await opened.call("acme")
        assert [type(each) for each in refusals([await opened.call("acme", 0.0)])] == [DeadlineExceededError]


async def test_cancelled_call_leaves_the_queue() -> None:
    async with house(1, 4) as opened:
        tasks = await opened.calls(3, "acme")
        tasks[1].cancel()
        await settled()
        assert refusals([await opened.call("acme")]) == []  # in its place
        await opened.end(2)
        assert len(opened.ends) == 1


async def test_drain_refuses_who_waits_and_lets_the_others_end() -> None:
    async with house(1, 8) as opened:
        running, waiting = await opened.calls(2, "acme")
        opened.admission.drain()
        await settled()
        assert [type(each) for each in refusals([waiting])] == [DrainingError]
        assert [type(each) for each in refusals([await opened.call("acme")])] == [DrainingError]
        assert not running.done()
        await opened.end()
        await opened.call("acme")  # there is room, and it is quick
        assert len(opened.ends) == 1


async def test_call_that_goes_on_waits_and_is_not_refused() -> None:
    async with house(1, 0) as opened:
        await opened.call("acme")

        async def go_on() -> None:
            async with opened.admission.next_slot("acme"):
                pass

        task = asyncio.create_task(go_on())
        await settled()
        assert not task.done()
        await opened.end()
        await asyncio.wait_for(task, 30)
