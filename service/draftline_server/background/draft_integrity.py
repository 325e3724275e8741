"""Looks now and then whether drafts are still what their edits make of their records, and counts those that are not.

Nothing but a hand in the tables should bring that about: it is told, and mending is left to who runs the service.
"""

from __future__ import annotations

import asyncio

import structlog

from ..domain.errors import DraftlineError
from ..store.draft_integrity import DraftChecker


class DraftCheck:
    """Checks every `interval_s`, unless that is 0; runs until it is cancelled."""

    def __init__(self, checker: DraftChecker, interval_s: float) -> None:
        self._checker = checker
        self._interval_s = interval_s
        self.done = 0  # checks so far
        self.differences = 0  # drafts out of step, over all of them

    async def run(self) -> None:
        while self._interval_s:
            await asyncio.sleep(self._interval_s)
            await self.check()

    async def check(self) -> None:
        """Once, unless another process is at it."""
        log = structlog.get_logger()
        try:
            found = await self._checker.count()
        except DraftlineError as error:
            log.warning("drafts_not_checked", reason=error.reason)
            return
        except Exception as error:
            log.warning("drafts_not_checked", exc_info=error)
            return
        if found is None:
            return
        self.done += 1
        self.differences += found
        if found:
            log.error("drafts_out_of_step", count=found, reason="`draftline check` tells which, and mends them")
