"""Cancellation of open streams whose caller loses access."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from .identity import Identity

CHECK_INTERVAL_S = 30.0  # between two checks that the caller of an open stream still has access


@asynccontextmanager
async def cancel_when_revoked(identity: Identity, check: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Cancel the block and raise the error of `check` once `check` fails.

    `check` runs at intervals and when the caller's token expires. It must raise if the caller is no longer
    authenticated (UnauthenticatedError) or no longer has access.
    """
    failed: list[Exception] = []

    async def watch(limit: asyncio.Timeout) -> None:
        while True:
            await asyncio.sleep(min(CHECK_INTERVAL_S, max(0.0, identity.expires_at - time.time())))
            try:
                await check()
            except Exception as error:
                failed.append(error)
                limit.reschedule(asyncio.get_running_loop().time())
                return

    try:
        async with asyncio.timeout(None) as limit:
            watching = asyncio.create_task(watch(limit), name="caller")
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError:
        if not failed:
            raise
        raise failed[0] from None
