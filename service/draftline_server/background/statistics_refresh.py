"""A refresh of the planner's statistics after imports were answered, once for all imports that ended in the meantime.

Best effort: autovacuum does the same within a minute or so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog


class Analysis:
    """A task that calls `analyze` after `want` was called; it runs until it is cancelled."""

    def __init__(self, analyze: Callable[[], Awaitable[None]]) -> None:
        self._analyze = analyze
        self._wanted = asyncio.Event()

    def want(self) -> None:
        """Request a refresh, because many records were changed."""
        self._wanted.set()

    async def run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._analyze()
            except Exception as error:
                structlog.get_logger().warning("analyze_failed", reason=type(error).__name__)
