"""The blocking gRPC channel of a client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from draftline._core.connection import Connection
from draftline._threads.reconnect_wait import ReconnectWait


class ChannelConnection(Connection):
    """A connection that opens its channel at once."""

    def _open(self) -> None:
        self._process_id = os.getpid()
        if self._credentials is None:
            channel = grpc.insecure_channel(self._target, self._options)
        else:
            channel = grpc.secure_channel(self._target, self._credentials, self._options)
        self._reconnect_wait = ReconnectWait(channel)
        interceptors: Any = self._interceptors
        self._channel = grpc.intercept_channel(channel, *interceptors)

    def _check_open(self) -> None:
        super()._check_open()
        if os.getpid() != self._process_id:  # the threads of gRPC did not survive the fork
            raise RuntimeError(
                f"the client was created in process {self._process_id}, from which this one was forked: "
                "create a client in each process, after the fork"
            )

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Make a call in the block. If another thread closes the client before it begins, raise RuntimeError."""
        try:
            yield
        except ValueError:  # also that of gRPC, if the channel is closed
            self._check_open()
            raise

    def _close_channel(self) -> None:
        self._reconnect_wait.close()
        self._channel.close()

    def _current_token(self) -> Any:
        """Return the token. A function that is async returns no string, which the metadata rejects."""
        return self._token_now()
