"""Builds the workers of syncs from the settings, for `draftline sync` and for a service that runs them itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from draftline.upstreams import CollectionBinding

from .auth.hot_reload import ReloadingValue
from .background.change_signal import ChangeSignals
from .settings import Settings
from .store.collections.cache import CollectionSpecs
from .store.database import Database
from .store.json_schema.pool import Schemas
from .sync.claims import SyncRunner
from .sync.counters import SyncCounters
from .sync.worker import Connection, Stores
from .upstreams.endpoints_file import ConfiguredEndpoint, Contents, Endpoints, parse, read_files
from .upstreams.registry import UnknownEndpointError, Upstreams
from .wiring import content_limits

RELOAD_S = 1.0


def runs_inline(settings: Settings) -> bool:
    """Return whether `draftline serve` runs the workers itself."""
    sync = settings.sync_workers
    if sync.upstreams_file is None:
        return False
    return sync.mode == "inline" or (sync.mode == "auto" and not settings.database.url)


@asynccontextmanager
async def sync_runner(
    settings: Settings, database: Database, schemas: Schemas, wakes: ChangeSignals, counters: SyncCounters
) -> AsyncIterator[SyncRunner]:
    """Yield a runner of syncs with the endpoints of DRAFTLINE_UPSTREAMS_FILE, which is read again every second.

    Raises ValueError if the file cannot be used at the start. Later, the last valid content stays.
    """
    path = settings.sync_workers.upstreams_file
    if path is None:
        raise ValueError("DRAFTLINE_UPSTREAMS_FILE must be set: it defines the systems of record that syncs may use")
    endpoints: ReloadingValue[Contents, Endpoints] = ReloadingValue(
        "DRAFTLINE_UPSTREAMS_FILE", partial(_read, path), parse, RELOAD_S
    )
    await endpoints.start()
    try:
        upstreams = Upstreams(lambda: endpoints.value or {})
        specs = CollectionSpecs(database, schemas)
        stores = Stores(database, specs, content_limits(settings.limits), wakes, counters)
        yield SyncRunner(stores, partial(_connect, upstreams))
    finally:
        await endpoints.close()


async def _read(path: Path) -> Contents:
    return await asyncio.to_thread(read_files, path)


def _connect(upstreams: Upstreams, tenant_id: str, name: str, bindings: Sequence[CollectionBinding]) -> Connection:
    """Return a connection to an endpoint. Raises LookupError if the tenant may not use it, or if it is invalid."""
    endpoint = upstreams.find(name, tenant_id)
    try:
        upstream = upstreams.open(name, tenant_id, bindings)
    except ValueError as error:
        raise LookupError(str(error)) from None
    definition = endpoint.definition

    def is_current() -> bool:
        return _is_current(upstreams, name, tenant_id, endpoint)

    return Connection(upstream, definition.rate_per_s, definition.parallel, definition.timeout_s, is_current)


def _is_current(upstreams: Upstreams, name: str, tenant_id: str, endpoint: ConfiguredEndpoint) -> bool:
    try:
        return upstreams.find(name, tenant_id) == endpoint
    except UnknownEndpointError:
        return False
