"""The queue between the threads that add writes and the stream that sends them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from draftline._core.bulk_state import BulkState, Outcome, PendingWrite
from draftline.models import BulkProgress
from draftline.v1 import content_pb2 as pb

WriteFuture = Future
Finish = Callable[[Any, Any, "Exception | None"], None]


def new_future() -> Future[Any]:
    """Create the future of a write."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()  # a write that was added cannot be cancelled
    return future


def complete(future: Future[Any], result: Any, error: Exception | None) -> None:
    """Set the outcome of a future."""
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class WriteQueue:
    """The state of a bulk writer with waiting. `finish` is called with each write that has ended."""

    def __init__(self, state: BulkState[Any], finish: Finish) -> None:
        self._state = state
        self._finish = finish
        self._changed = threading.Condition()
        self._stream = 0  # counts the streams; the requests of an earlier one end
        self.is_closed = False
        self._ending = 0  # calls of _end that have not completed all their futures
        self._completing: int | None = None  # the thread that completes futures

    @property
    def progress(self) -> BulkProgress:
        with self._changed:
            return self._state.progress

    def put(self, write: PendingWrite[Any]) -> None:
        """Wait for room and add the write. A callback of a future does not wait: it would wait for itself."""
        with self._changed:
            is_callback = self._completing == threading.get_ident()
            self._changed.wait_for(lambda: is_callback or self.is_closed or self._state.has_room)
            if self.is_closed:
                raise RuntimeError("the bulk writer is closed: create a new one")
            self._state.add(write)
            self._changed.notify_all()

    def wait_for_work(self) -> bool:
        """Wait until there is a write to send. Return False if the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_closed or not self._state.is_idle)
            return not self.is_closed

    def flush(self) -> None:
        """Wait until every write that was added has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._state.is_idle and not self._ending)

    def restart(self) -> int:
        """Begin a new stream: what was sent without an outcome is sent again. Return the number of the stream."""
        with self._changed:
            outcomes = self._state.restart()
            self._ending += 1
            self._stream += 1
            stream = self._stream
        self._end(outcomes)
        return stream

    def messages(self, stream: int) -> Iterator[pb.StreamPatchesRequest]:
        """Yield the messages of a stream until another one begins or the queue is closed."""
        while True:
            with self._changed:
                message = None
                while stream == self._stream and not self.is_closed and message is None:
                    message = self._state.next_message()
                    if message is None:
                        self._changed.wait(self._state.delay_s())
            if message is None:
                return
            yield message

    def accept(self, response: pb.StreamPatchesResponse) -> None:
        with self._changed:
            outcomes = self._state.accept(response)
            self._ending += 1
        self._end(outcomes)

    def fail(self, error: Exception) -> None:
        """End all writes with an error."""
        with self._changed:
            outcomes = self._state.fail(error)
            self._ending += 1
        self._end(outcomes)

    def end_stream(self) -> None:
        """End the requests of the current stream."""
        with self._changed:
            self._stream += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Accept no further writes, and end the requests of the current stream."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    def _end(self, outcomes: list[Outcome[Any]]) -> None:
        # Outside the lock: a callback of a future may add a write.
        self._completing = threading.get_ident()
        try:
            for write, result, error in outcomes:
                complete(write.future, result, error)
                self._finish(write, result, error)
        finally:
            with self._changed:
                self._ending -= 1
                self._completing = None
                self._changed.notify_all()
