"""A periodic check that every draft is still the result of applying its edit to its record.

A mismatch should occur only if the tables were edited by hand. It is reported, and repair is left to the operator.
"""

from __future__ import annotations

import asyncio

import structlog

from ..domain.errors import DraftlineError
from ..store.draft_integrity import DraftChecker


class DraftCheck:
    """A task that checks all drafts every `interval_s` until it is cancelled; with 0 it never checks."""

    def __init__(self, checker: DraftChecker, interval_s: float) -> None:
        self._checker = checker
        self._interval_s = interval_s
        self.done = 0  # completed checks so far
        self.differences = 0  # inconsistent drafts, summed over all checks

    async def run(self) -> None:
        while self._interval_s:
            await asyncio.sleep(self._interval_s)
            await self.check()

    async def check(self) -> None:
        """Check all drafts once, unless another process is checking them."""
        log = structlog.get_logger()
        try:
            found = await self._checker.count()
        except DraftlineError as error:
            log.warning("draft_check_failed", reason=error.reason)
            return
        except Exception as error:
            log.warning("draft_check_failed", exc_info=error)
            return
        if found is None:
            return
        self.done += 1
        self.differences += found
        if found:
            log.error(
                "draft_mismatch", count=found, hint="run `draftline check` to list them, with --repair to repair them"
            )
