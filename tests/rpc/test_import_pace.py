"""Imports that trickle end; those that pause and go on do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from threading import Event
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from draftline.v1 import content_pb2, content_pb2_grpc
from draftline_server.domain.errors import DeadlineExceededError
from draftline_server.rpc import import_pace
from draftline_server.rpc.import_pace import Pace, PaceOptions
from support.responses import TIMEOUT_S, document, refusal_of
from support.servers import beside

Part = content_pb2.ImportContentRequest
HEADER = Part(header=content_pb2.ImportHeader(tenant_id="acme", collection="films"))


def trickle(is_over: Event) -> Iterator[Part]:
    """A stream of small messages that never ends, and is never idle for long."""
    yield HEADER
    number = 0
    while not is_over.wait(0.02):
        number += 1
        record = content_pb2.ImportRecord(record_id=f"m-{number}", content=document({}))
        yield Part(chunk=content_pb2.ImportChunk(records=[record]))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"import_timeout_s": 0.5}, "the import took longer than 0.5 s"),
        ({"stream_idle_timeout_s": 0.5, "import_min_bytes_per_s": 100_000}, "less than 100000 bytes per second"),
    ],
)
def test_import_that_trickles_ends_and_leaves_its_slot(
    database_url: str, serving: Any, settings: dict[str, float], problem: str
) -> None:
    is_over = Event()
    with (
        serving(database_url, max_imports=1, **settings) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub = content_pb2_grpc.ContentServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ImportContent(trickle(is_over), timeout=TIMEOUT_S)
        is_over.set()
        refusal = refusal_of(caught.value)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert problem in refusal.message
        end = Part(end=content_pb2.ImportEnd(record_count=0))
        assert stub.ImportContent(iter([HEADER, end]), timeout=TIMEOUT_S).inserted_count == 0


class InstantLoop(asyncio.SelectorEventLoop):
    """A loop with a clock of its own, which goes forward to the next timer when there is nothing else to do."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        selector: Any = self._selector  # type: ignore[attr-defined]
        select = selector.select

        def skip(timeout_s: float | None = None) -> Any:
            self._now_s += timeout_s or 0.0
            return select(0)

        selector.select = skip

    def time(self) -> float:
        return self._now_s


Instantly = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
def instantly(monkeypatch: pytest.MonkeyPatch) -> Iterator[Instantly]:
    """Runs what waits, without waiting, and with no delay but those that it names."""
    loop = InstantLoop()
    monkeypatch.setattr(import_pace, "time", SimpleNamespace(monotonic=loop.time))
    yield lambda work: beside(loop.run_until_complete, work)
    loop.close()


async def message(size: int, after_s: float) -> bytes:
    await asyncio.sleep(after_s)
    return b"x" * size


def test_pause_is_paid_for_by_what_came_before_and_after(instantly: Instantly) -> None:
    async def stream() -> None:
        pace = Pace(PaceOptions(idle_s=0.4, total_s=10.0, min_bytes_per_s=1000.0))
        for _ in range(3):  # each pause is nearly as long as may be, and what comes then pays for the next
            assert len(await pace.next(lambda: message(1000, 0.39))) == 1000
        assert len(await pace.next(lambda: message(1, 0.25))) == 1
        with pytest.raises(DeadlineExceededError, match="less than 1000 bytes per second"):
            await pace.next(lambda: message(1, 0.16))

    instantly(stream())


def test_stream_without_a_least_rate_may_be_as_slow_as_it_is_not_idle(instantly: Instantly) -> None:
    async def stream() -> None:
        pace = Pace(PaceOptions(idle_s=0.2, total_s=10.0, min_bytes_per_s=0.0))
        for _ in range(8):
            await pace.next(lambda: message(1, 0.19))
        with pytest.raises(DeadlineExceededError, match=r"the stream sent no message for 0\.2 s"):
            await pace.next(lambda: message(1, 5))

    instantly(stream())
