"""grpc.health.v1, based on whether the database answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress

import structlog
from grpc_health.v1 import health_pb2

from ...domain.errors import OperatorError

PROBE_INTERVAL_S = 1.0
WARNING = "draftline-warning"  # trailing metadata of a check: a problem that does not stop the service

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """A health servicer: SERVING while `probe` succeeds, NOT_SERVING while it fails and once the server drains.

    It replaces grpc's own servicer, which drops all watchers of a service when one of them ends.
    """

    def __init__(
        self, services: Sequence[str], probe: Callable[[], Awaitable[None]], warning: Callable[[], str] = lambda: ""
    ) -> None:
        """Call `warning` for a problem that does not stop the service: an ASCII sentence, or empty if none."""
        self._services = frozenset(["", *services])
        self._probe = probe
        self._warning = warning
        self._task: asyncio.Task[None] | None = None
        self._serving: bool | None = None
        self._reason = ""  # of NOT_SERVING, if an operator can end it
        self._changed = asyncio.Condition()

    def status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus | None:
        """Return the status of a service, or None if the service is unknown."""
        if service not in self._services:
            return None
        return SERVING if self._serving else NOT_SERVING

    async def follow(self, service: str) -> AsyncIterator[health_pb2.HealthCheckResponse.ServingStatus]:
        """Yield the current status of a service and every change of it, forever."""
        last = None
        while True:
            async with self._changed:
                while (status := self.status(service) or UNKNOWN) == last:
                    await self._changed.wait()
            last = status
            yield status

    @property
    def warning(self) -> str:
        """The reason of NOT_SERVING, if it is known, and a problem that does not stop the service; empty if none."""
        return "; ".join(filter(None, (self._reason, self._warning())))

    async def warnings(self) -> list[str]:
        """Return the warning as a list, which is empty if there is none."""
        return [warning] if (warning := self.warning) else []

    @property
    def is_reachable(self) -> bool:
        """True if the last probe of the database succeeded."""
        return self._serving is True

    async def start(self) -> None:
        await self._check()
        self._task = asyncio.create_task(self._watch(), name="health")

    async def drain(self) -> None:
        """Report NOT_SERVING permanently, so that callers use another server."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._publish(False)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(PROBE_INTERVAL_S)
            await self._check()

    async def _check(self) -> None:
        try:
            async with asyncio.timeout(2 * PROBE_INTERVAL_S):
                await self._probe()
        except Exception as error:
            self._reason = str(error) if isinstance(error, OperatorError) else ""
            await self._set_serving(False, reason=self._reason or type(error).__name__)
        else:
            self._reason = ""
            await self._set_serving(True)

    async def _set_serving(self, serving: bool, **details: str) -> None:
        if serving is self._serving:
            return
        structlog.get_logger().info("health_changed", serving=serving, **details)
        await self._publish(serving)

    async def _publish(self, serving: bool) -> None:
        async with self._changed:
            self._serving = serving
            self._changed.notify_all()
