"""The I/O-free part of a watch: the delivered items, and the position to resume from.

Two invariants ensure that a watch has neither gaps nor duplicates:

* A connection resumes after `resume_token`, which covers exactly the delivered items.
* Therefore the token of a message takes effect when the last of its items is delivered, and the
  next message is received only then. A connection that breaks earlier loses nothing: the items
  of a received message are buffered.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from draftline._core.methods import Call
from draftline._core.retries import Retry, is_interrupted
from draftline.errors import DraftlineError, TokenExpiredError, UnauthenticatedError
from draftline.v1 import change_pb2 as pb

ItemT = TypeVar("ItemT")

WatchCall = Call[pb.WatchChangesRequest, pb.WatchChangesResponse, list[ItemT]]

# By default the service sends a heartbeat every 15 seconds.
DEFAULT_SILENCE_S = 60.0

# The pause before a reader watches again after an error that a retry does not fix, such as a lack of permission.
REWATCH_AFTER_ERROR_S = 30.0


class WatchState(Generic[ItemT]):
    """The state of a watch.

    Attributes:
        resume_token: the token that a connection resumes from; covers the delivered items.
        is_ready: a message was received, so everything after it will be delivered.
    """

    def __init__(self, call: WatchCall[ItemT], retry: Retry, *, may_renew: bool = False) -> None:
        self._call = call
        self._retry = retry
        self._items: deque[ItemT] = deque()
        self._next_token = ""
        self._failures = 0
        self._may_renew = may_renew
        self._is_renewed = False  # the auth token, since the last message that was not the first of its connection
        self._is_first = True  # the next message is the first of its connection
        self.resume_token = call.request.resume_token
        self.is_ready = False

    @property
    def has_items(self) -> bool:
        return bool(self._items)

    def request(self) -> pb.WatchChangesRequest:
        """Build the request of the next connection. All received items must have been delivered."""
        self._is_first = True
        request = pb.WatchChangesRequest()
        request.CopyFrom(self._call.request)
        request.resume_token = self.resume_token
        return request

    def accept(self, message: pb.WatchChangesResponse) -> None:
        """Accept a message. All items of the previous one must have been delivered."""
        self._items.extend(self._call.method.parse(message))
        self._next_token = message.resume_token
        if not self._items:
            self.resume_token = self._next_token
        # The first message arrives even from a service that then breaks each connection, so it is not progress.
        if not self._is_first:
            self._failures = 0
            self._is_renewed = False
        self._is_first = False
        self.is_ready = True

    def pop_item(self) -> ItemT:
        """Deliver the next item of the current message."""
        item = self._items.popleft()
        if not self._items:
            self.resume_token = self._next_token
        return item

    def pop_items(self) -> list[ItemT]:
        """Deliver the remaining items of the current message."""
        items = list(self._items)
        self._items.clear()
        self.resume_token = self._next_token
        return items

    def pause_s(self, error: DraftlineError) -> float | None:
        """Return the seconds to wait before reconnecting after a failed connection. None: the error is final.

        A watch that was never ready gives up after as many attempts as any call; one that was ready continues.
        A stream ends when its auth token expires, and resumes with the next token.
        """
        if isinstance(error, UnauthenticatedError) and self._may_renew and not self._is_renewed:
            self._is_renewed = True
            return 0.0
        self._failures += 1
        has_given_up = not self.is_ready and self._failures >= self._retry.max_attempts
        if has_given_up or not is_interrupted(error):
            return None
        return self._retry.pause_s(self._failures, error)


def rewatch_delay_s(retry: Retry, failures: int, error: Exception) -> float:
    """Return the seconds until a reader starts a new watch, after an error that ended the last one."""
    if isinstance(error, DraftlineError) and (isinstance(error, TokenExpiredError) or is_interrupted(error)):
        return retry.pause_s(failures, error)
    return REWATCH_AFTER_ERROR_S
