"""Groups of streamed patches: their admission slots, and the way of each patch that does not succeed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from draftline.v1 import content_pb2
from draftline_server.domain.errors import RecordNotFoundError
from draftline_server.domain.records import Actor, Patch, PatchResult
from draftline_server.rpc.admission import Admission, AdmissionOptions
from draftline_server.rpc.ordered_runner import OrderedRunner, StreamedWrite
from draftline_server.rpc.patch_groups import Outcome, PatchGroups

Ended = Callable[[int, Outcome], None]
ACTOR = Actor("acme", "ada")
DONE = PatchResult()


class Stream:
    """A stream, and a service that ends each patch with the outcome for its record id."""

    def __init__(self, outcomes: dict[str, Outcome], *, slots: int = 100, limit_s: float = 60.0) -> None:
        self.outcomes = outcomes
        self.applying = 0
        self.completed: list[int] = []
        self.late: list[int] = []
        self.alone: dict[int, str] = {}  # the name of the error, by index
        self.most_running = 0
        self.applied: list[list[str]] = []
        self.never = False  # the service gives no outcome
        self.put_back_is_late = False  # the time limit passes while writes are put back
        self.admission = Admission(AdmissionOptions(slots, 1_000, 5.0))
        self._limit_s = limit_s

    async def room_for(self, count: int) -> int:
        return count

    def complete(self, write: StreamedWrite, _: object) -> None:
        self.completed.append(write.index)

    def complete_late(self, write: StreamedWrite) -> None:
        self.late.append(write.index)

    def shared_patch(self, request: content_pb2.PatchContentRequest, _: Actor) -> Patch | None:
        return Patch(request.collection, request.record_id) if request.record_id != "checked" else None

    async def patch_each(self, patches: Sequence[tuple[Actor, Patch, str]], ended: Ended) -> None:
        self.applied.append([patch.record_id for _, patch, _ in patches])
        self.most_running = max(self.most_running, self.admission.running)
        assert self.applying >= len(patches)
        await asyncio.sleep(0)
        if self.never:
            await asyncio.get_running_loop().create_future()
        for index, (_, patch, _) in enumerate(patches):
            if patch.record_id == "broken":
                raise OSError
            ended(index, self.outcomes.get(patch.record_id, DONE))

    def fill_streamed(self, message: Any, *_: object) -> None:
        assert message.HasField("status")
        if "unfilled" in self.outcomes:
            raise ValueError

    async def run(self, *keys: tuple[str, str]) -> None:
        """Run a patch for each collection and record id, until nothing happens any more."""
        async with asyncio.TaskGroup() as group:
            runner = OrderedRunner(self._run_alone, self._run_together, self._limit_s, None, group)
            self._groups = PatchGroups(self, self, self.admission, runner, ACTOR)
            for index, (collection, record_id) in enumerate(keys):
                patch = content_pb2.PatchContentRequest(tenant_id="acme", collection=collection, record_id=record_id)
                item = content_pb2.StreamPatchesItem(patch=patch)
                runner.add(StreamedWrite(index, item, 0, (collection, record_id), is_shared=True))
            limits = group.create_task(runner.cancel_late())
            for _ in range(50):
                await asyncio.sleep(0)
            assert runner.running == 0
            limits.cancel()
            runner.cancel()
        assert (self.admission.running, self.applying) == (0, 0)

    async def _run_alone(self, write: StreamedWrite) -> None:
        self.alone[write.index] = type(write.error).__name__ if write.error else ""

    async def _run_together(self, writes: Sequence[StreamedWrite]) -> None:
        for write in writes:
            write.is_late = self.put_back_is_late and bool(self.applied)
        await self._groups.run(writes)


def films(*record_ids: str) -> list[tuple[str, str]]:
    return [("films", record_id) for record_id in record_ids]


async def test_patches_of_a_group_hold_one_slot_each_and_the_others_wait() -> None:
    stream = Stream({}, slots=2)
    await stream.run(*films("a", "b", "c", "d", "e"))
    assert sorted(stream.completed) == [0, 1, 2, 3, 4]
    assert stream.most_running == 2
    assert max(map(len, stream.applied)) == 2


async def test_patches_of_several_collections_are_applied_by_collection() -> None:
    stream = Stream({})
    await stream.run(("films", "a"), ("books", "a"), ("films", "b"))
    assert sorted(map(len, stream.applied)) == [1, 2]
    assert sorted(stream.completed) == [0, 1, 2]


async def test_patch_that_does_not_succeed_runs_alone_with_its_error() -> None:
    stream = Stream({"missing": PatchResult(error=RecordNotFoundError("")), "stale": None, "failed": OSError()})
    await stream.run(*films("a", "missing", "stale", "checked", "failed", "b"), ("", "invalid"))
    assert stream.completed == [0, 5]
    assert stream.alone == {1: "RecordNotFoundError", 2: "", 3: "", 4: "OSError", 6: ""}


async def test_error_of_the_group_is_that_of_each_patch_without_an_outcome() -> None:
    stream = Stream({})
    await stream.run(*films("a", "broken", "b"))
    assert stream.completed == [0]
    assert stream.alone == {1: "OSError", 2: "OSError"}


async def test_patch_whose_outcome_cannot_be_built_is_not_applied_again() -> None:
    stream = Stream({"unfilled": DONE})
    await stream.run(*films("a"))
    assert stream.alone == {0: "ValueError"}


async def test_patches_that_exceed_their_time_limit_end_as_late() -> None:
    stream = Stream({}, limit_s=0.0)
    stream.never = True
    await stream.run(*films("a", "b"))
    assert sorted(stream.late) == [0, 1]
    assert stream.completed == []
    assert stream.alone == {}


async def test_patches_that_become_late_while_they_are_put_back_are_not_applied() -> None:
    stream = Stream({}, slots=1)
    stream.put_back_is_late = True
    await stream.run(*films("a", "b", "c"))
    assert (stream.completed, stream.late) == ([0], [1, 2])
    assert stream.applied == [["a"]]
