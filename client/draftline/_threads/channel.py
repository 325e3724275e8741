"""The blocking gRPC channel of a client."""

from __future__ import annotations

from typing import Any

import grpc

from draftline._core.connection import Connection
from draftline._threads.reconnect_wait import ReconnectWait


class ChannelConnection(Connection):
    """A connection that opens its channel at once."""

    def _open(self) -> None:
        if self._credentials is None:
            channel = grpc.insecure_channel(self._target, self._options)
        else:
            channel = grpc.secure_channel(self._target, self._credentials, self._options)
        self._reconnect_wait = ReconnectWait(channel)
        interceptors: Any = self._interceptors
        self._channel = grpc.intercept_channel(channel, *interceptors)

    def _close_channel(self) -> None:
        self._reconnect_wait.close()
        self._channel.close()

    def _current_token(self) -> Any:
        """Return the token. A function that is async returns no string, which the metadata rejects."""
        return self._token_now()
