"""The I/O-free part of a bulk writer: the writes that wait, those that were sent, and their outcomes.

Invariants:

* At most one write of a record is sent and unanswered, so the writes of a record are applied in the order in which
  they were added, retried ones as well.
* A write is sent again only if that is safe: it has a request id, or the service says that it had no effect.
* Every write ends exactly once: with a result, or with an error.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import grpc

from draftline._core.methods import Call
from draftline._core.retries import Attempts
from draftline._core.status import error_of_status
from draftline.errors import UnavailableError
from draftline.models import BulkProgress
from draftline.v1 import content_pb2 as pb

FutureT = TypeVar("FutureT")

# Of one message: enough for the highest rate, and well below the limits of the service.
MAX_MESSAGE_ITEMS = 100
MAX_MESSAGE_BYTES = 1 << 20

_FIELDS = {"PatchContent": "patch", "CreateContent": "create", "DeleteContent": "delete"}


@dataclass(eq=False)
class PendingWrite(Generic[FutureT]):
    """A write without an outcome yet."""

    call: Call[Any, Any, Any]
    future: FutureT
    attempts: Attempts
    size: int = 0
    not_before: float = 0.0  # on the clock of time.monotonic()
    item: pb.StreamPatchesItem = field(default_factory=pb.StreamPatchesItem)

    def __post_init__(self) -> None:
        getattr(self.item, _FIELDS[self.call.method.name]).CopyFrom(self.call.request)
        self.size = self.item.ByteSize()

    @property
    def key(self) -> tuple[str, str] | None:
        """The record that it writes; None: a new one, whose id the service generates."""
        request = self.call.request
        return (request.collection, request.record_id) if request.record_id else None


Outcome = tuple[PendingWrite[FutureT], Any, "Exception | None"]  # a write with its result or its error


class BulkState(Generic[FutureT]):
    """The writes of one bulk writer. Its owner serializes the calls of all methods."""

    def __init__(self, max_pending: int, max_pending_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_pending = max_pending
        self._max_pending_bytes = max_pending_bytes
        self._clock = clock
        self._waiting: deque[PendingWrite[FutureT]] = deque()
        self._behind: dict[tuple[str, str], deque[PendingWrite[FutureT]]] = {}  # by record, those after the first
        self._sent: dict[int, PendingWrite[FutureT]] = {}  # by index in the current stream
        self._next_index = 0
        self._bytes = 0
        self._pending = self._succeeded = self._failed = 0

    @property
    def has_room(self) -> bool:
        return self._pending < self._max_pending and (self._bytes < self._max_pending_bytes or not self._pending)

    @property
    def is_idle(self) -> bool:
        return not self._pending

    @property
    def progress(self) -> BulkProgress:
        return BulkProgress(self._pending, self._succeeded, self._failed)

    def add(self, write: PendingWrite[FutureT]) -> None:
        self._pending += 1
        self._bytes += write.size
        if write.key is not None:
            if write.key in self._behind:
                self._behind[write.key].append(write)
                return
            self._behind[write.key] = deque()
        self._waiting.append(write)

    def next_message(self) -> pb.StreamPatchesRequest | None:
        """Return the next message of the current stream, and None if no write may be sent now."""
        now, size, skipped = self._clock(), 0, 0
        message = pb.StreamPatchesRequest()
        while self._waiting and skipped < len(self._waiting) and len(message.items) < MAX_MESSAGE_ITEMS:
            write = self._waiting[0]
            if write.not_before > now:
                self._waiting.rotate(-1)
                skipped += 1
                continue
            if message.items and size + write.size > MAX_MESSAGE_BYTES:
                break
            self._waiting.popleft()
            size += write.size
            message.items.append(write.item)
            self._sent[self._next_index] = write
            self._next_index += 1
        return message if message.items else None

    def delay_s(self) -> float | None:
        """Return the seconds until a waiting write may be sent. None: none waits."""
        if not self._waiting:
            return None
        return max(0.0, min(write.not_before for write in self._waiting) - self._clock())

    def restart(self) -> list[Outcome[FutureT]]:
        """Begin a new stream. Return the writes that may not be sent again: whether they were done is unknown."""
        sent, self._sent, self._next_index = list(self._sent.values()), {}, 0
        again = [write for write in sent if write.call.may_repeat]
        self._waiting.extendleft(reversed(again))
        unknown = UnavailableError(
            grpc.StatusCode.UNAVAILABLE, "the stream broke; without a request id, whether the write was done is unknown"
        )
        return [self._ended(write, None, unknown) for write in sent if not write.call.may_repeat]

    def accept(self, response: pb.StreamPatchesResponse) -> list[Outcome[FutureT]]:
        """Return the writes that have ended with this response; those to be retried wait again."""
        ended = []
        for result in response.results:
            write = self._sent.pop(result.index)
            if not result.status.code:
                ended.append(self._parsed(write, result))
                continue
            error = error_of_status(result.status)
            pause_s = write.attempts.pause_s(error)
            if pause_s is None:
                ended.append(self._ended(write, None, error))
            else:
                write.not_before = self._clock() + pause_s
                self._waiting.append(write)
        return ended

    def _parsed(self, write: PendingWrite[FutureT], result: pb.StreamPatchesResult) -> Outcome[FutureT]:
        try:
            parsed = write.call.method.parse(result)
        except Exception as error:  # the write must end all the same
            return self._ended(write, None, error)
        return self._ended(write, parsed, None)

    def fail(self, error: Exception) -> list[Outcome[FutureT]]:
        """End all writes with an error, and return them."""
        ended = []
        while self._sent or self._waiting:
            write = self._sent.pop(next(iter(self._sent))) if self._sent else self._waiting.popleft()
            ended.append(self._ended(write, None, error))
        return ended

    def _ended(self, write: PendingWrite[FutureT], result: Any, error: Exception | None) -> Outcome[FutureT]:
        self._pending -= 1
        self._bytes -= write.size
        self._succeeded += error is None
        self._failed += error is not None
        if write.key is not None:
            behind = self._behind[write.key]
            if behind:
                self._waiting.append(behind.popleft())
            else:
                del self._behind[write.key]
        return write, result, error
