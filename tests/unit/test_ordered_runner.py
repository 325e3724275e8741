"""Writes of a stream that run together: who runs them, and what stays the same when they run by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from draftline_server.rpc.ordered_runner import MAX_TOGETHER, OrderedRunner, StreamedWrite

LIMIT_S = 60.0
Together = Callable[["Stream", Sequence[StreamedWrite]], Awaitable[None]]


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Stream:
    """A runner, and the indexes of the writes that it runs: by themselves, and together."""

    def __init__(self, together: Together, limit_s: float = LIMIT_S) -> None:
        self.alone: list[int] = []
        self.together: list[list[int]] = []
        self.ends_at: dict[int, list[float]] = {}
        self._run_together = together
        self._limit_s = limit_s
        self.runner: OrderedRunner

    def note(self, write: StreamedWrite) -> None:
        self.ends_at.setdefault(write.index, []).append(write.ends_at)

    async def run(self, writes: Sequence[StreamedWrite]) -> None:
        async def alone(write: StreamedWrite) -> None:
            self.note(write)
            self.alone.append(write.index)

        async def together(shared: Sequence[StreamedWrite]) -> None:
            for write in shared:
                self.note(write)
            self.together.append([write.index for write in shared])
            await self._run_together(self, shared)

        async with asyncio.TaskGroup() as group:
            self.runner = OrderedRunner(alone, together, self._limit_s, None, group)
            for write in writes:
                self.runner.add(write)
            await settled()
            self.runner.cancel()


def write(index: int, key: str | None = None, *, is_shared: bool = True) -> StreamedWrite:
    return StreamedWrite(index, None, 0, key or str(index), is_shared=is_shared)


async def end_all(stream: Stream, writes: Sequence[StreamedWrite]) -> None:
    for each in writes:
        stream.runner.end(each)


async def test_shared_writes_that_arrive_together_run_in_one_task() -> None:
    stream = Stream(end_all)
    await stream.run([write(0), write(1, is_shared=False), write(2), write(3)])
    assert (stream.together, stream.alone) == ([[0, 2, 3]], [1])


async def test_shared_writes_run_in_tasks_of_limited_size() -> None:
    stream = Stream(end_all)
    await stream.run([write(n) for n in range(2 * MAX_TOGETHER + 1)])
    assert [len(each) for each in stream.together] == [MAX_TOGETHER, MAX_TOGETHER, 1]


async def test_shared_writes_of_one_record_run_in_their_order() -> None:
    stream = Stream(end_all)
    await stream.run([write(0, "a"), write(1, "b"), write(2, "a"), write(3, "a", is_shared=False), write(4, "a")])
    assert stream.together == [[0, 1], [2], [4]]
    assert stream.alone == [3]


async def test_write_that_is_given_back_keeps_its_time_limit_and_its_turn() -> None:
    async def give_back(stream: Stream, writes: Sequence[StreamedWrite]) -> None:
        if len(stream.together) > 1:
            await end_all(stream, writes)
            return
        stream.runner.run_alone(writes[0])
        stream.runner.end(writes[1])
        stream.runner.put_back(writes[2:])

    stream = Stream(give_back)
    await stream.run([write(0, "a"), write(1), write(2), write(3), write(4, "a")])
    assert stream.together == [[0, 1, 2, 3], [2, 3], [4]]
    assert stream.alone == [0]
    assert all(len(set(stream.ends_at[index])) == 1 for index in (0, 2, 3))
    assert stream.runner.running == 0


async def test_writes_that_run_together_exceed_their_time_limit_with_one_cancellation() -> None:
    cancelled: list[int] = []

    async def wait(stream: Stream, writes: Sequence[StreamedWrite]) -> None:
        limits = asyncio.ensure_future(stream.runner.cancel_late())
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            cancelled.append(task.cancelling())
            task.uncancel()
            assert all(each.is_late for each in writes)
            await end_all(stream, writes)
        finally:
            limits.cancel()

    stream = Stream(wait, limit_s=0.0)
    await stream.run([write(0), write(1), write(2)])
    assert cancelled == [1]
