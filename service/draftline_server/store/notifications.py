"""LISTEN and NOTIFY: a notification says that a tenant's log may have grown, and carries none of it."""

from __future__ import annotations

from collections.abc import Callable, Collection

import asyncpg

from .statements import load
from .time_limits import without_limits

SQL = load("notifications")
CHANNEL = "draftline_change"


class Notifications:
    """A dedicated connection that listens and notifies."""

    def __init__(self, url: str, connect_timeout_s: float) -> None:
        self._url = url
        self._timeout_s = connect_timeout_s
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def open(self, on_write: Callable[[str], None], on_lost: Callable[[], None]) -> None:
        """Connect and listen.

        `on_write` is called with a tenant for which another process wrote, `on_lost` when the connection is lost.
        """
        connection = await asyncpg.connect(
            self._url, timeout=self._timeout_s, server_settings={"application_name": "draftline watch"}
        )
        self._connection = connection
        await without_limits(connection)
        own = connection.get_server_pid()
        connection.add_termination_listener(lambda _: on_lost())

        def received(_: object, process_id: int, __: str, tenant_id: object) -> None:
            if process_id != own:
                on_write(str(tenant_id))

        await connection.add_listener(CHANNEL, received)

    async def notify(self, tenant_ids: Collection[str]) -> None:
        """Notify the other processes of the tenants for which this one wrote."""
        if self._connection is None:
            raise asyncpg.InterfaceError("not connected")
        statement = SQL["notify"]
        values: dict[str, object] = {"channel": CHANNEL, "tenant_ids": list(tenant_ids)}
        await self._connection.execute(statement.sql, *statement.arguments(values), timeout=self._timeout_s)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
