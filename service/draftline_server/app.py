"""The composition root: the only place that makes the parts and wires them."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from .domain.content import Limits
from .domain.cursor import Cursors
from .domain.errors import DraftlineError
from .rpc import probe, tokens
from .rpc.admission import AdmissionOptions
from .rpc.auth import Authenticator, NoAuthentication, TokenAuthentication
from .rpc.change_service import ChangeService
from .rpc.collection_service import CollectionService
from .rpc.content_service import ContentService
from .rpc.draft_service import DraftService
from .rpc.health import Health
from .rpc.keys import KeyOptions, Keys, new_service_key
from .rpc.metrics import Metrics
from .rpc.monitoring import measured
from .rpc.once import Once
from .rpc.permissions import Permission
from .rpc.probe import Security, security
from .rpc.probe import state as health_state
from .rpc.readings import readings_of
from .rpc.server import SERVICES, Server, ServerOptions
from .rpc.telemetry import Telemetry
from .rpc.tls import Tls, TlsFiles
from .rpc.tokens import TokenRules
from .rpc.watch import Watches, WatchOptions
from .settings import Settings
from .store.changes import ChangeStore
from .store.checks import DraftChecker, DraftDifference
from .store.collections import CollectionStore
from .store.commits import CommitStore
from .store.content import ContentStore
from .store.definitions import Definitions
from .store.drafts import DraftStore
from .store.engine import Database, PoolSettings
from .store.feed import Feed
from .store.fetched_patches import FetchedPatches
from .store.imports import ImportStore
from .store.indexes import Indexes
from .store.log_keeping import LogKeeping
from .store.merged import MergedStore
from .store.notifications import Notifications
from .store.patches import InPlacePatches, PatchApplier, PatchStore
from .store.requests import Requests
from .store.reverts import RevertStore
from .store.schema import check_revision, read_secret
from .store.schemas import Schemas
from .workers.draft_check import DraftCheck
from .workers.group_commit import GroupCommit
from .workers.log_keeper import LogKeeper
from .workers.notifier import Notifier
from .workers.wakes import Wakes

__all__ = [
    "PERMISSIONS", "App", "CheckError", "DraftChecker", "DraftDifference", "Security", "checking", "development_token",
    "health_state", "new_service_key", "own_security", "running", "security", "serve",
]  # fmt: skip

PERMISSIONS = [permission.value for permission in Permission]

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")


@dataclass(frozen=True, slots=True)
class App:
    """A running service; `address` is where it listens, `metrics_port` where it is measured, if anywhere."""

    address: str
    metrics_port: int | None
    server: Server
    database: Database


@asynccontextmanager
async def running(
    settings: Settings, url: str, revision: str, *, metrics_socket: Path | None = None
) -> AsyncIterator[App]:
    """Serves the database at `url`, whose schema must be at `revision`, and drains at the end.

    `metrics_socket`: a Unix socket to be measured at instead of a port, for who adds up several processes.
    """
    is_protected = settings.has_authentication and settings.tls_certificate_file is not None
    if settings.host not in LOOPBACK and not is_protected and not settings.dangerously_serve_unprotected:
        raise ValueError(
            f"DRAFTLINE_HOST is {settings.host}: without both authentication and TLS, loopback alone is served"
        )
    database, schemas = Database(url, _pool_settings(settings)), Schemas(settings.schema_timeout_s)
    telemetry = Telemetry()
    database.runner.observers.append(telemetry.ran)
    await database.open()
    try:
        await check_revision(database, revision)
        indexes, wakes = Indexes(database), Wakes()
        notifier = Notifier(Notifications(url, settings.pool_connect_timeout_s), wakes)
        keeper = LogKeeper(LogKeeping(database), _retention(settings), settings.log_keeping_interval_s)
        await keeper.keep_order()
        draft_check = DraftCheck(DraftChecker(database), settings.draft_check_interval_s)
        server, watches = await _server(
            settings, database, schemas, telemetry, indexes=indexes, notifier=notifier, wakes=wakes
        )
        metrics = Metrics(telemetry, readings_of(database, server, watches, keeper, draft_check))
        address = metrics_socket or (settings.metrics_host, settings.metrics_port)
        async with measured(metrics.text, server.is_ready, address) as metrics_port:
            port = await server.start()
            tasks = [
                asyncio.create_task(_reconcile(indexes), name="indexes"),
                asyncio.create_task(notifier.run(), name="notifier"),
                asyncio.create_task(keeper.run(), name="log_keeper"),
                asyncio.create_task(draft_check.run(), name="draft_check"),
            ]
            try:
                yield App(f"{settings.host}:{port}", metrics_port, server, database)
            finally:
                wakes.close()
                await server.drain()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await schemas.close()
        await database.close()


async def serve(settings: Settings, url: str, revision: str, *, metrics_socket: Path | None = None) -> None:
    """Serves until SIGTERM or SIGINT."""
    gc.freeze()  # what is loaded by now stays: the collector need not look at it again and again
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with running(settings, url, revision, metrics_socket=metrics_socket) as app:
        structlog.get_logger().info("serving", address=app.address, metrics_port=app.metrics_port)
        await stop.wait()


class CheckError(Exception):
    """The check could not go on; the text says why."""


@asynccontextmanager
async def checking(settings: Settings, url: str, revision: str) -> AsyncIterator[DraftChecker]:
    """The checker of the drafts in the database at `url`, whose schema must be at `revision`."""
    database = Database(url, _pool_settings(settings))
    await database.open()
    try:
        await check_revision(database, revision)
        yield DraftChecker(database)
    except DraftlineError as error:
        raise CheckError(f"the check broke off: {error.message}") from error
    finally:
        await database.close()


async def _server(
    settings: Settings,
    database: Database,
    schemas: Schemas,
    telemetry: Telemetry,
    *,
    indexes: Indexes,
    notifier: Notifier,
    wakes: Wakes,
) -> tuple[Server, Watches]:
    limits = Limits(settings.max_content_bytes, settings.max_content_depth, settings.max_content_nodes)
    requests = Requests(database)
    definitions = Definitions(database, schemas)
    cursors = Cursors(await read_secret(database, "page_token"))
    merged = MergedStore(database, definitions, cursors)
    # Watchers read with a quarter of the connections and no more, so that they keep nobody else from his.
    feed = Feed(database, max(1, settings.pool_size // 4))
    watch_options = WatchOptions(settings.watch_heartbeat_s, settings.max_watchers)
    watches = Watches(feed, merged, wakes, cursors, watch_options)
    applier: PatchApplier = FetchedPatches(definitions, limits)
    if settings.enable_partial_updates:
        in_place = InPlacePatches(definitions, limits)
        if settings.max_group_size > 1:
            applier = GroupCommit(in_place, settings.max_group_size, telemetry.group_sizes.observe)
        else:
            applier = in_place
    servicers = {
        "draftline.v1.ContentService": ContentService(
            ContentStore(database, definitions, limits),
            PatchStore(database, definitions, applier),
            ImportStore(database, definitions, limits, settings.max_imports),
            limits,
        ),
        "draftline.v1.CollectionService": CollectionService(
            CollectionStore(
                database,
                definitions,
                indexes,
                cursors,
                limits,
                requests=requests,
                max_indexes=settings.max_indexes_per_tenant,
            )
        ),
        "draftline.v1.DraftService": DraftService(
            DraftStore(database, limits),
            CommitStore(database, definitions, limits),
            merged,
            limits,
        ),
        "draftline.v1.ChangeService": ChangeService(
            ChangeStore(database, cursors),
            RevertStore(database, definitions, limits),
            watches,
        ),
    }
    health = Health([service.full_name for service in SERVICES], database.ping)
    server = Server(
        servicers,
        Once(requests),
        notifier.wrote,
        health,
        _server_options(settings),
        authenticator=_authenticator(settings),
        tls=Tls(files) if (files := _tls_files(settings)) else None,
        telemetry=telemetry,
    )
    return server, watches


async def _reconcile(indexes: Indexes) -> None:
    """Finishes what an earlier process was cut off from; reads are exact meanwhile."""
    try:
        await indexes.reconcile()
    except Exception as error:
        structlog.get_logger().warning("indexes_not_reconciled", exc_info=error)


def _retention(settings: Settings) -> timedelta | None:
    return timedelta(days=settings.change_retention_days) if settings.change_retention_days else None


def _pool_settings(settings: Settings) -> PoolSettings:
    return PoolSettings(
        settings.pool_size,
        settings.pool_connect_timeout_s,
        settings.pool_idle_timeout_s,
        settings.statement_timeout_s,
        settings.lock_timeout_s,
        settings.retries,
    )


def _server_options(settings: Settings) -> ServerOptions:
    return ServerOptions(
        f"{settings.host}:{settings.port}",
        _reflects(settings),
        settings.call_timeout_s,
        settings.stream_idle_timeout_s,
        settings.drain_timeout_s,
        settings.max_request_bytes,
        settings.max_response_bytes,
        settings.max_metadata_bytes,
        settings.max_calls,
        settings.max_streams_per_connection,
        settings.max_connection_age_s,
        settings.max_connection_grace_s,
        settings.ping_interval_s,
        settings.min_ping_interval_s,
        AdmissionOptions(settings.max_in_flight, settings.max_waiting, settings.max_wait_s),
    )


def _reflects(settings: Settings) -> bool:
    """Whoever develops may look around."""
    if settings.reflection is not None:
        return settings.reflection
    return settings.host in LOOPBACK and not settings.has_authentication


def _authenticator(settings: Settings) -> Authenticator:
    if not settings.has_authentication:
        return NoAuthentication()
    keys = KeyOptions(settings.auth_jwks, settings.auth_secret_file, settings.auth_service_keys_file)
    return TokenAuthentication(Keys(keys), _token_rules(settings))


def _token_rules(settings: Settings) -> TokenRules:
    return TokenRules(
        settings.auth_issuer,
        settings.auth_audience,
        settings.auth_max_lifetime_s,
        settings.auth_leeway_s,
        settings.auth_user_claim,
        settings.auth_tenants_claim,
        settings.auth_permissions_claim,
    )


def development_token(
    settings: Settings, *, user: str, tenants: Sequence[str], scopes: Sequence[str], lifetime_s: int
) -> str:
    """A token signed with the shared secret of the settings. ValueError if there is none, or for what it cannot say."""
    if settings.auth_secret_file is None:
        raise ValueError("DRAFTLINE_AUTH_SECRET_FILE names no secret to sign with")
    secret, rules = settings.auth_secret_file.read_bytes(), _token_rules(settings)
    return tokens.development_token(secret, rules, user=user, tenants=tenants, scopes=scopes, lifetime_s=lifetime_s)


def own_security(settings: Settings) -> Security:
    """How to reach the service that these settings make."""
    files = _tls_files(settings)
    return Security() if files is None else probe.own_security(files)


def _tls_files(settings: Settings) -> TlsFiles | None:
    if settings.tls_certificate_file is None or settings.tls_key_file is None:
        return None
    return TlsFiles(settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file)
