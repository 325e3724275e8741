"""The grpc.aio channel of a client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio

from draftline._aio.reconnect_wait import ReconnectWait
from draftline._core.connection import Connection
from draftline.errors import CallCancelledError


class ChannelConnection(Connection):
    """A connection that opens its channel at the first call, since a channel belongs to the running event loop."""

    def _open(self) -> None:
        self._opened: grpc.aio.Channel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process_id = os.getpid()
        self._reconnect_wait = ReconnectWait()

    @property
    def _channel(self) -> grpc.aio.Channel:
        if self._opened is None:
            self._loop, self._process_id = asyncio.get_running_loop(), os.getpid()
            interceptors: Any = self._interceptors
            if self._credentials is None:
                self._opened = grpc.aio.insecure_channel(self._target, self._options, interceptors=interceptors)
            else:
                self._opened = grpc.aio.secure_channel(
                    self._target, self._credentials, self._options, interceptors=interceptors
                )
        return self._opened

    def _check_open(self) -> None:
        super()._check_open()
        if self._opened is None:
            return
        if os.getpid() != self._process_id:
            raise RuntimeError(
                f"the client was used in process {self._process_id}, from which this one was forked: "
                "create a client in each process, after the fork"
            )
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "the client belongs to another event loop, that of its first call: "
                "create a client in each event loop, or use draftline.Client in threads"
            )

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Make a call in the block. If the client is closed meanwhile, raise CallCancelledError.

        gRPC raises asyncio.CancelledError, although the caller's task is not cancelled. On Python 3.10, which does
        not say whether it is, that error stays.
        """
        try:
            yield
        except asyncio.CancelledError:
            if self._is_closed and not _is_cancelled(asyncio.current_task()):
                raise CallCancelledError(grpc.StatusCode.CANCELLED, "the client was closed during the call") from None
            raise

    async def _close_channel(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def _current_token(self) -> str | None:
        token = self._token_now()
        return await token if isinstance(token, Awaitable) else token


def _is_cancelled(task: asyncio.Task[Any] | None) -> bool:
    """Return whether the task may have been cancelled, which is not known before Python 3.11."""
    cancelling = getattr(task, "cancelling", None)
    return cancelling is None or cancelling() > 0
