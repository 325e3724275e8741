"""Pauses between attempts, during which a blocking gRPC channel can reconnect.

A blocking channel makes progress only while a thread waits for it. Without such a thread, calls
that fail immediately let it make progress only every 5 seconds (grpcio 1.78): after an outage of
2 seconds, the client reached the service after 9. So a pause subscribes to the channel's state.
"""

from __future__ import annotations

import threading

import grpc

POLLER_START_S = 1.0  # maximum wait for gRPC's polling thread to start


class ReconnectWait:
    """The pauses of all threads that use one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._changed = threading.Condition()
        self._count = 0
        self._is_watched = False  # the channel has reported its state since the first of the current pauses began
        self._is_closed = False

    def wait(self, pause_s: float, closed: threading.Event | None = None) -> None:
        """Wait for `pause_s` seconds, or until `close`, or until `wake` is called after `closed` was set."""
        with self._changed:
            if self._is_closed:
                return
            self._count += 1
            if self._count == 1:
                self._is_watched = False
                self._channel.subscribe(self._note)
            try:
                self._changed.wait_for(lambda: self._is_closed or (closed is not None and closed.is_set()), pause_s)
                # gRPC's polling thread logs an error if the channel is closed before the thread has started.
                self._changed.wait_for(lambda: self._is_watched, POLLER_START_S)
            finally:
                self._count -= 1
                if self._count == 0:
                    self._channel.unsubscribe(self._note)
                    self._changed.notify_all()

    def wake(self) -> None:
        """Let all pauses check whether their event is set."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End all pauses and wait for them: gRPC logs an error if a channel is closed while subscribed to."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._count == 0)

    def _note(self, _: grpc.ChannelConnectivity) -> None:
        with self._changed:
            self._is_watched = True
            self._changed.notify_all()
