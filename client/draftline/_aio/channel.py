"""The grpc.aio channel of a client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from typing import Any

import grpc.aio

from draftline._aio.reconnect_wait import ReconnectWait
from draftline._core.connection import Connection


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

    async def _close_channel(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def _current_token(self) -> str | None:
        token = self._token_now()
        return await token if isinstance(token, Awaitable) else token
