"""The gRPC services of a process, over their stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .background.change_signal import ChangeSignals
from .background.patch_batcher import PatchBatcher
from .background.read_batcher import ReadBatcher
from .background.statistics_refresh import StatisticsRefresh
from .domain.content import Limits
from .observability.telemetry import Telemetry
from .rpc.services.changes import ChangeService
from .rpc.services.collections import CollectionService
from .rpc.services.content import ContentService
from .rpc.services.drafts import DraftService
from .rpc.services.merged_pages import MergedPages
from .rpc.services.sync import SyncService
from .rpc.services.tenants import TenantService
from .rpc.services.watch import Watches, WatchOptions
from .rpc.stored_responses import StoredResponses
from .settings import Settings
from .store.change_log.changes import ChangeStore
from .store.change_log.feed import Feed
from .store.collections.cache import CollectionSpecs
from .store.collections.order_entries import OrderEntries
from .store.collections.store import CollectionStore
from .store.collections.tallies import Tallies
from .store.commits import CommitStore
from .store.content import ContentStore
from .store.database import Database
from .store.draft_users import DraftUsers
from .store.drafts import DraftStore
from .store.fetched_patches import FetchedPatches
from .store.idempotency import Requests
from .store.imports import ImportStore
from .store.in_place_patches import InPlacePatches
from .store.json_schema.pool import Schemas
from .store.lists.field_names import FieldNames
from .store.lists.merged import MergedStore
from .store.page_tokens import PageTokens
from .store.patches import PatchApplier, PatchStore
from .store.purges import PurgeStore
from .store.quotas import Quotas
from .store.relations.expansions import Expansions
from .store.reverts import RevertStore
from .store.revision import read_secret
from .store.statistics.store import StatisticsStore
from .store.sync.configs import SyncConfigs
from .store.sync.decisions import SyncDecisions
from .store.sync.previews import SyncPreviews
from .store.sync.states import SyncStates
from .store.tenants import Tenants
from .store.write_transactions import WriteTransactions
from .wiring import content_limits, quota_options


@dataclass(frozen=True, slots=True)
class Services:
    """The servicers by the full name of their service, and parts of them that others use."""

    servicers: Mapping[str, object]
    requests: Requests
    watches: Watches
    field_names: FieldNames


@dataclass(frozen=True, slots=True)
class _Shared:
    """Components that several services use."""

    settings: Settings
    database: Database
    telemetry: Telemetry
    limits: Limits
    specs: CollectionSpecs
    page_tokens: PageTokens
    merged: MergedStore
    pages: MergedPages
    requests: Requests
    responses: StoredResponses
    quotas: Quotas


async def build_services(
    settings: Settings,
    database: Database,
    schemas: Schemas,
    telemetry: Telemetry,
    *,
    entries: OrderEntries,
    tallies: Tallies,
    statistics: StatisticsRefresh,
    wakes: ChangeSignals,
    quotas: Quotas,
) -> Services:
    """Build the services. Reads the secret of page tokens from the database."""
    requests, specs = Requests(database), CollectionSpecs(database, schemas)
    page_tokens = PageTokens(await read_secret(database, "page_token"))
    merged = MergedStore(database, specs, page_tokens)
    shared = _Shared(
        settings=settings,
        database=database,
        telemetry=telemetry,
        limits=content_limits(settings.limits),
        specs=specs,
        page_tokens=page_tokens,
        merged=merged,
        pages=MergedPages(merged, Expansions(database, specs), FieldNames(database, specs)),
        requests=requests,
        responses=StoredResponses(WriteTransactions(database, specs), requests),
        quotas=quotas,
    )
    watches = _watches(shared, wakes)
    servicers = {
        "draftline.v1.ContentService": _content_service(shared, statistics),
        "draftline.v1.CollectionService": _collection_service(shared, entries, tallies),
        "draftline.v1.DraftService": DraftService(
            DraftStore(shared.limits),
            CommitStore(specs, shared.limits),
            shared.pages,
            StatisticsStore(database, specs),
            DraftUsers(database, page_tokens),
            shared.responses,
            shared.limits,
            quotas,
        ),
        "draftline.v1.ChangeService": ChangeService(
            ChangeStore(database, page_tokens),
            RevertStore(specs, shared.limits),
            shared.responses,
            watches,
        ),
        "draftline.v1.SyncService": SyncService(
            SyncConfigs(database),
            SyncStates(database),
            SyncDecisions(database, specs, shared.limits),
            SyncPreviews(database),
            shared.responses,
            page_tokens,
            shared.limits,
        ),
        "draftline.v1.TenantService": TenantService(Tenants(database, page_tokens), quota_options(settings.limits)),
    }
    return Services(servicers, requests, watches, shared.pages.field_names)


def _watches(shared: _Shared, wakes: ChangeSignals) -> Watches:
    settings = shared.settings
    # Limit watchers to a quarter of the connections, so that they cannot exhaust the pool.
    feed = Feed(shared.database, max(1, settings.database.pool_size // 4))
    options = WatchOptions(settings.server.watch_heartbeat_s, settings.limits.max_watchers)
    names = shared.pages.field_names
    return Watches(feed, shared.merged, names, wakes, page_tokens=shared.page_tokens, options=options)


def _content_service(shared: _Shared, statistics: StatisticsRefresh) -> ContentService:
    database, specs, limits = shared.database, shared.specs, shared.limits
    batch_size = shared.settings.database.batch_size
    content = ContentStore(database, specs, limits)
    reads: ReadBatcher | ContentStore = content
    if batch_size > 1:
        reads = ReadBatcher(content, batch_size, shared.telemetry.batch_sizes["reads"].observe)
    return ContentService(
        content,
        reads,
        PatchStore(database, specs, _patch_applier(shared), limits),
        ImportStore(database, specs, limits, shared.settings.limits.max_imports, statistics.request_for),
        PurgeStore(),
        shared.pages,
        shared.responses,
        limits,
        shared.quotas,
    )


def _patch_applier(shared: _Shared) -> PatchApplier:
    database = shared.settings.database
    if not database.enable_partial_updates:
        return FetchedPatches(shared.specs, shared.limits)
    in_place = InPlacePatches(shared.specs, shared.limits)
    if database.batch_size == 1:
        return in_place
    return PatchBatcher(in_place, database.batch_size, shared.telemetry.batch_sizes["patches"].observe)


def _collection_service(shared: _Shared, entries: OrderEntries, tallies: Tallies) -> CollectionService:
    store = CollectionStore(
        shared.database,
        shared.specs,
        shared.page_tokens,
        shared.limits,
        entries=entries,
        tallies=tallies,
        requests=shared.requests,
        max_indexes=shared.settings.limits.max_indexes_per_tenant,
    )
    return CollectionService(store, shared.responses)
