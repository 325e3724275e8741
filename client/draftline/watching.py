"""The part of a watch that does no I/O: what was handed over, and where the stream goes on.

Invariants, by which a watch has neither gap nor repeat:

* a connection asks for what comes after `resume_token`, which covers exactly what was handed over;
* so the token of a message counts when the last of its items is handed over, and the next
  message is taken in only then. A connection that breaks off earlier changes nothing: the
  items of a message that is here are here.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from draftline.errors import DraftlineError, TokenExpiredError, UnauthenticatedError
from draftline.methods import Call
from draftline.retries import Retry, is_interrupted
from draftline.v1 import change_pb2 as pb

ItemT = TypeVar("ItemT")

WatchCall = Call[pb.WatchChangesRequest, pb.WatchChangesResponse, list[ItemT]]

# The service gives a sign of life every 15 seconds, unless it is set otherwise.
DEFAULT_SILENCE_S = 60.0

# Between two watches of a reader that may not watch, or cannot read what comes.
REFUSED_S = 30.0


class WatchState(Generic[ItemT]):
    """What a watch knows.

    Attributes:
        resume_token: what a connection asks for; covers what was handed over.
        is_ready: a message came, so that nothing is missed from there on.
    """

    def __init__(self, call: WatchCall[ItemT], retry: Retry, *, may_renew: bool = False) -> None:
        self._call = call
        self._retry = retry
        self._items: deque[ItemT] = deque()
        self._next_token = ""
        self._failures = 0
        self._may_renew = may_renew
        self._is_renewed = False  # the token, since the last message but for a connection's first
        self._is_first = True  # of its connection is the next message
        self.resume_token = call.request.resume_token
        self.is_ready = False

    @property
    def has_items(self) -> bool:
        return bool(self._items)

    def request(self) -> pb.WatchChangesRequest:
        """What the next connection asks for; all that was taken in must have been handed over."""
        self._is_first = True
        request = pb.WatchChangesRequest()
        request.CopyFrom(self._call.request)
        request.resume_token = self.resume_token
        return request

    def take(self, message: pb.WatchChangesResponse) -> None:
        """Takes in a message; all of the one before must have been handed over."""
        self._items.extend(self._call.method.parse(message))
        self._next_token = message.resume_token
        if not self._items:
            self.resume_token = self._next_token
        # The first comes at once, even from a service that breaks off at once each time.
        if not self._is_first:
            self._failures = 0
            self._is_renewed = False
        self._is_first = False
        self.is_ready = True

    def hand_over(self) -> ItemT:
        item = self._items.popleft()
        if not self._items:
            self.resume_token = self._next_token
        return item

    def hand_over_all(self) -> list[ItemT]:
        items = list(self._items)
        self._items.clear()
        self.resume_token = self._next_token
        return items

    def pause_s(self, error: DraftlineError) -> float | None:
        """Seconds to wait before the next connection, after one that failed. None: the error stands.

        A watch that was never ready gives up after as many attempts as any call; one that was goes on.
        A stream ends when the token that it was opened with expires, and goes on with the next.
        """
        if isinstance(error, UnauthenticatedError) and self._may_renew and not self._is_renewed:
            self._is_renewed = True
            return 0.0
        self._failures += 1
        has_given_up = not self.is_ready and self._failures >= self._retry.max_attempts
        if has_given_up or not is_interrupted(error):
            return None
        return self._retry.pause_s(self._failures, error)


def rewatch_s(retry: Retry, failures: int, error: Exception) -> float:
    """Seconds until a reader watches anew, after an error that ended its watch."""
    if isinstance(error, DraftlineError) and (isinstance(error, TokenExpiredError) or is_interrupted(error)):
        return retry.pause_s(failures, error)
    return REFUSED_S
