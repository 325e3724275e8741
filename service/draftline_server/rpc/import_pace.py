"""The minimum rate at which a stream of messages must arrive, so that a slow sender cannot hold a call forever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from ..domain.errors import DeadlineExceededError


@dataclass(frozen=True, slots=True)
class PaceOptions:
    idle_s: float  # between two messages
    total_s: float  # for the whole stream and its processing
    min_bytes_per_s: float  # 0: no minimum


class Pace:
    """Enforces the minimum rate of one stream.

    A stream has a waiting time budget of `idle_s`; each received byte adds the time that it may take at the minimum
    rate, up to that budget. Only time spent waiting for the caller counts, not the time in which the server processes
    messages.
    """

    def __init__(self, options: PaceOptions) -> None:
        self._options = options
        self._budget_s = options.idle_s

    async def next(self, read: Callable[[], Awaitable[Any]]) -> Any:
        """Return the next message as bytes, or grpc.aio.EOF. Raises DeadlineExceededError if the stream is too slow."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._budget_s):
                message = await read()
        except TimeoutError:
            raise DeadlineExceededError(self._problem()) from None
        if message is not grpc.aio.EOF:
            self._spend(time.monotonic() - began, len(message))
        return message

    def _spend(self, waited_s: float, received_bytes: int) -> None:
        min_rate = self._options.min_bytes_per_s
        if min_rate:
            budget_s = self._budget_s - waited_s + received_bytes / min_rate
            self._budget_s = max(0.0, min(self._options.idle_s, budget_s))

    def _problem(self) -> str:
        idle_s, min_rate = self._options.idle_s, self._options.min_bytes_per_s
        if self._budget_s < idle_s:
            return f"the stream sent less than {min_rate:g} bytes per second; nothing was imported"
        return f"the stream sent no message for {idle_s:g} s; nothing was imported"
