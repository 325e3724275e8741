"""Pauses between attempts, in which a blocking channel of gRPC connects again.

Such a channel gets on with its work only while somebody waits for it. Between calls that
fail at once nobody does, but for once in 5 seconds (grpcio 1.78): a service that was away
for 2 seconds was reached after 9. So the pauses wait for the channel's state.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import grpc

BEGINNING_S = 1.0  # at most, for the thread in which gRPC asks for the state


class Pauses:
    """The pauses of all threads over one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._changed = threading.Condition()
        self._count = 0
        self._is_watched = False  # the channel's state was told since the first of these pauses began
        self._is_closed = False

    def wait(self, pause_s: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Waits, unless it is over before: when `is_over` says so at a `wake`, or at the `close`."""
        with self._changed:
            if self._is_closed:
                return
            self._count += 1
            if self._count == 1:
                self._is_watched = False
                self._channel.subscribe(self._note)
            try:
                self._changed.wait_for(lambda: self._is_closed or is_over(), pause_s)
                # gRPC's own thread fails noisily on a channel that is closed before it has begun.
                self._changed.wait_for(lambda: self._is_watched, BEGINNING_S)
            finally:
                self._count -= 1
                if self._count == 0:
                    self._channel.unsubscribe(self._note)
                    self._changed.notify_all()

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Ends all pauses and waits for that: a channel that is watched cannot be closed quietly."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._count == 0)

    def _note(self, _: grpc.ChannelConnectivity) -> None:
        with self._changed:
            self._is_watched = True
            self._changed.notify_all()
