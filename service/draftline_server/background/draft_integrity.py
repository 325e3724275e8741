"""A periodic check that every draft is still the result of applying its edit to its record.

A mismatch should occur only if the tables were edited by hand. It is reported, and repair is left to the operator.
"""

from __future__ import annotations

import structlog

from ..domain.errors import DraftlineError
from ..store.advisory_locks import AdvisoryLock
from ..store.draft_integrity import DraftChecker
from ..store.transaction import DedicatedConnection
from .leader import LeaderTask


class DraftCheck(LeaderTask):
    """A task that checks all drafts every `interval_s`; with 0 it never checks."""

    name = "check drafts"
    lock = AdvisoryLock.DRAFT_CHECK

    def __init__(self, checker: DraftChecker, interval_s: float) -> None:
        super().__init__(interval_s or None)
        self._checker = checker
        self.completed = 0  # completed checks so far
        self.mismatches = 0  # inconsistent drafts, summed over all checks

    async def run(self, connection: DedicatedConnection) -> None:
        """Check all drafts once."""
        count = await self._checker.count(connection)
        self.completed += 1
        self.mismatches += count
        if count:
            structlog.get_logger().error(
                "draft_mismatch", count=count, hint="run `draftline check` to list them, with --repair to repair them"
            )

    def failed(self, error: Exception) -> None:
        log = structlog.get_logger()
        if isinstance(error, DraftlineError):
            log.warning("draft_check_failed", reason=error.reason)
        else:
            log.warning("draft_check_failed", exc_info=error)
