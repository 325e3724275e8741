"""The periodic count of what each tenant uses, and the watch of the quotas."""

from __future__ import annotations

import asyncio
import time

import structlog

from ..domain.errors import DraftlineError
from ..store.advisory_locks import AdvisoryLock
from ..store.quotas import Near, Quotas
from ..store.tenants import count_tenants
from ..store.transaction import DedicatedConnection
from .leader import LeaderTask

REST = 10  # a count that took t seconds is followed by a pause of at least REST * t
REFRESH_S = 10.0


class TenantCount(LeaderTask):
    """A task that counts what each tenant uses every `interval_s`, and less often if the count takes long."""

    name = "count tenants"
    lock = AdvisoryLock.TENANT_USAGE

    def __init__(self, interval_s: float) -> None:
        super().__init__(interval_s)
        self._shortest_interval_s = interval_s

    async def run(self, connection: DedicatedConnection) -> None:
        started = time.monotonic()
        await count_tenants(connection)
        self.interval_s = max(self._shortest_interval_s, REST * (time.monotonic() - started))

    def failed(self, error: Exception) -> None:
        log = structlog.get_logger()
        if isinstance(error, DraftlineError):
            log.warning("tenant_count_failed", reason=error.reason)
        else:
            log.warning("tenant_count_failed", exc_info=error)


class QuotaWatch:
    """Reads the use of tenants again and again and, in one process of all, logs tenants that come near a quota."""

    def __init__(self, quotas: Quotas, interval_s: float, *, reports: bool) -> None:
        self._quotas = quotas
        self._interval_s = min(interval_s, REFRESH_S)
        self._reports = reports
        self._near: dict[Near, int] = {}

    @property
    def tenants_near_quota(self) -> int:
        return len({each.tenant_id for each in self._near})

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                await self._quotas.refresh()
            except DraftlineError as error:  # the last known use stays in effect
                structlog.get_logger().warning("quota_refresh_failed", reason=error.reason)
            else:
                self._report()
            await asyncio.sleep(self._interval_s)

    def _report(self) -> None:
        if not self._reports:
            return
        near = self._quotas.near()
        for each in sorted(set(near) - set(self._near)):
            structlog.get_logger().warning(
                "tenant_near_quota", tenant_id=each.tenant_id, quota=each.quota, use=near[each],
                limit=self._quotas.limit(each.tenant_id, each.quota),
            )  # fmt: skip
        self._near = near
