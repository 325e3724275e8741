"""Has the planner told what imports changed, after they were answered: once for all that ended meanwhile.

Best effort: PostgreSQL does it by itself within a minute or so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog


class Analysis:
    """Runs until it is cancelled; `analyze` is called after `want`."""

    def __init__(self, analyze: Callable[[], Awaitable[None]]) -> None:
        self._analyze = analyze
        self._wanted = asyncio.Event()

    def want(self) -> None:
        """Much was changed."""
        self._wanted.set()

    async def run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._analyze()
            except Exception as error:
                structlog.get_logger().warning("records_not_analyzed", reason=type(error).__name__)
