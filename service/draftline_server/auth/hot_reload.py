"""Values that are loaded from a file or a URL and reloaded periodically."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

import structlog

Raw = TypeVar("Raw")
Value = TypeVar("Value")


class ReloadingValue(Generic[Raw, Value]):
    """The last valid value of a source. If a reload fails, the previous value stays.

    Args:
        name: The name of the source, for messages and the log.
        read: Reads the source without blocking the event loop.
        parse: Builds the value. Raises ValueError, whose message must not reveal what was read.
        interval_s: The time between two reloads.
    """

    def __init__(
        self, name: str, read: Callable[[], Awaitable[Raw]], parse: Callable[[Raw], Value], interval_s: float
    ) -> None:
        self.name = name
        self.value: Value | None = None
        self.version = 0  # incremented with each new value
        self._read = read
        self._parse = parse
        self._interval_s = interval_s
        self._raw: Raw | None = None
        self._problem = ""
        self._read_at = -float("inf")
        self._refresh_task: asyncio.Task[None] | None = None
        self._reload_task: asyncio.Task[None] | None = None

    async def start(self, *, required: bool = True) -> None:
        """Load the value and start reloading it periodically. Raise ValueError if a required value cannot be loaded."""
        await self.refresh()
        if required and self.value is None:
            raise ValueError(f"{self.name} cannot be used: {self._problem}")
        self._reload_task = asyncio.create_task(self._keep_fresh(), name=f"reload {self.name}")

    async def close(self) -> None:
        for task in (self._reload_task, self._refresh_task):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def refresh(self, min_interval_s: float = 0.0) -> None:
        """Reload the value unless it was read within the last `min_interval_s`. Concurrent callers share one reload."""
        if self._refresh_task is None:
            if time.monotonic() - self._read_at < min_interval_s:
                return
            self._read_at = time.monotonic()
            self._refresh_task = asyncio.create_task(self._reload(), name=f"read {self.name}")
        await asyncio.shield(self._refresh_task)

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self.refresh()

    async def _reload(self) -> None:
        try:
            raw = await self._read()
            if raw != self._raw:
                self.value = self._parse(raw)
                self._raw = raw
                self.version += 1
                structlog.get_logger().info("loaded", source=self.name)
            self._problem = ""
        except Exception as error:  # any error: the last value is better than none
            self._log_problem(_describe(error))
        finally:
            self._refresh_task = None

    def _log_problem(self, problem: str) -> None:
        """Log a problem once for as long as it stays the same."""
        if problem != self._problem:
            structlog.get_logger().warning(
                "reload_failed", source=self.name, reason=problem, in_use="none" if self.value is None else "previous"
            )
        self._problem = problem


def _describe(error: Exception) -> str:
    """Return the error message without file paths."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, (OSError, ValueError)) else type(error).__name__
