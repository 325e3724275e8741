"""Events and log lines that say why requests to an upstream fail."""

from __future__ import annotations

import time

import structlog
from draftline.upstreams import ThrottledError, UnauthorizedError, UpstreamError

from ..store.sync.progress import PullProgress
from .conversion import MAX_MESSAGE, storable

REPEATED_S = 3_600.0  # for a problem that is reported already
SPACED_S = 60.0  # between two reports of a collection


class FailureReports:
    """Reports the failures of one sync. A limit of requests is usual, and rejected credentials suspend the sync."""

    def __init__(self, progress: PullProgress) -> None:
        self._progress = progress
        self._last: dict[str, tuple[str, float]] = {}  # by collection: the message, and its time

    async def note(self, collection: str, error: Exception) -> None:
        """Report a failed request: at once, again when the message changes, and once in an hour."""
        if not isinstance(error, UpstreamError) or isinstance(error, ThrottledError | UnauthorizedError):
            return
        message, now = storable(str(error))[:MAX_MESSAGE], time.monotonic()
        known, at = self._last.get(collection, ("", -REPEATED_S))
        if now - at < (REPEATED_S if message == known else SPACED_S):
            return
        self._last[collection] = message, now
        progress = self._progress
        structlog.get_logger().warning(
            "sync_unreachable", tenant_id=progress.tenant_id, upstream=progress.upstream, reason=type(error).__name__
        )
        await progress.report(collection, "UNREACHABLE", message)
