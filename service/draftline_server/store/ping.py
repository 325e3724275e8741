"""A probe that asks the database whether it answers."""

from __future__ import annotations

import asyncpg

from .clock import DatabaseClock


class Ping:
    """The probe of one process. It has a connection of its own, because a busy pool does not mean an outage."""

    def __init__(self, url: str, clock: DatabaseClock, timeout_s: float) -> None:
        self._url = url
        self._clock = clock
        self._timeout_s = timeout_s
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def send(self) -> None:
        """Raise an error of the driver unless the database answers in time."""
        try:
            if self._connection is None or self._connection.is_closed():
                settings = {"application_name": "draftline health"}
                self._connection = await asyncpg.connect(self._url, timeout=self._timeout_s, server_settings=settings)
            await self._clock.read(self._connection, self._timeout_s)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
