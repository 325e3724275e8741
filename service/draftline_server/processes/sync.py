"""The workers of syncs in this process, until a signal stops them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ..background.change_signal import ChangeSignals
from ..background.notifier import Notifier
from ..ops.signals import stop_by_signal
from ..settings import Settings
from ..store.database import Database
from ..store.json_schema.pool import Schemas
from ..store.notifications import Notifications
from ..store.revision import check_revision
from ..sync_workers import sync_runner
from ..wiring import pool_settings


async def run(settings: Settings, url: str, revision: str, *, started: Callable[[], None]) -> None:
    """Run workers for the syncs of the database at `url` until SIGTERM or SIGINT. Its schema must be at `revision`."""
    stop = stop_by_signal()
    database, schemas = Database(url, pool_settings(settings.database)), Schemas(settings.limits.json_schema_timeout_s)
    wakes = ChangeSignals()
    notifier = Notifier(Notifications(url, settings.database.pool_connect_timeout_s), wakes)
    await database.open(checked=True)
    try:
        await check_revision(database, revision)
        database.expect_revision(revision)
        async with sync_runner(settings, database, schemas, wakes) as runner:
            works = (runner.run(), notifier.run(), _ping(database))
            tasks = [asyncio.create_task(work) for work in works]
            started()
            try:
                await stop.wait()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await schemas.close()
        await database.close()


async def _ping(database: Database) -> None:
    """Register as a running service, and read the clock of the database, every second."""
    while True:
        with suppress(Exception):  # the workers report that the database is unreachable
            await database.ping()
        await asyncio.sleep(1.0)
