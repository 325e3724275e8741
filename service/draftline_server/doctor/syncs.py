"""Check the file of upstreams, and the syncs of all tenants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from ..settings import Settings
from ..store.database import Database
from ..store.sync.overview import SyncCondition, sync_conditions
from ..upstreams.endpoints_file import Endpoints, parse, read_files
from .results import Finding, fault, ok, skipped, warning

CHECK = "syncs"
FILE_CHECK = "upstreams"
SETTING = "DRAFTLINE_UPSTREAMS_FILE"
LAGS_S = 300.0
SUSPENSION_FIXES = {
    "DELETIONS_HELD": "check in the system of record that so many records were deleted, or correct its snapshot",
    "ENDPOINT_UNAVAILABLE": f"add the endpoint to {SETTING}, or allow it for this tenant, and correct its secrets",
    "RESTORED": "check that this database is not a copy of one whose syncs run",
    "UNAUTHORIZED": f"renew the credentials that the endpoint names in {SETTING}",
    "UNSUITABLE": "change the sync or the connector so that they fit, as the message says",
    "WENT_BACK": "find out whether the system of record was restored from a backup",
}
NAMED = 5  # syncs that a message lists at most


async def upstreams_file(settings: Settings) -> Finding:
    """Return a finding on the file of endpoints and on the files of secrets that it names."""
    path = settings.sync_workers.upstreams_file
    if path is None:
        return skipped(FILE_CHECK, f"not configured: {SETTING} is not set, so this machine runs no syncs")
    try:
        endpoints = parse(await asyncio.to_thread(read_files, path))
    except OSError as error:
        message = f"{SETTING}: {path} cannot be read: {error.strerror}"
        return fault(FILE_CHECK, message, "correct the path, or let this user read the file")
    except ValueError as error:
        return fault(FILE_CHECK, f"{SETTING}: {error}", "correct the file; docs/connectors.md describes it")
    return ok(FILE_CHECK, f"{path} defines {len(endpoints)} endpoints, and their secrets can be read")


async def syncs(opened: Database, settings: Settings) -> AsyncIterator[Finding]:
    """Yield the findings on the syncs of the database; one that is ok if nothing is wrong."""
    conditions = await sync_conditions(opened)
    endpoints = await _endpoints(settings)
    problems = [*_stopped(conditions), *_waiting(conditions), *_unknown_endpoints(conditions, endpoints)]
    for problem in problems:
        yield problem
    if not problems:
        yield ok(CHECK, f"{len(conditions):,} run, and none lags" if conditions else "there are none")


def _stopped(conditions: Sequence[SyncCondition]) -> Iterator[Finding]:
    for each in conditions:
        if each.suspended_reason:
            fix = SUSPENSION_FIXES.get(each.suspended_reason, "correct the reason")
            yield fault(
                CHECK, f"{_name(each)} is suspended, {each.suspended_reason}: {each.suspended_message}",
                f"{fix}; then run `draftline sync resume {each.upstream} --tenant {each.tenant_id}`",
            )  # fmt: skip
    if paused := _named(conditions, lambda each: each.push_paused or each.pull_paused):
        yield warning(CHECK, f"paused: {paused}", "resume them with `draftline sync resume` when they are needed")
    if idle := _named(conditions, lambda each: each.needs_worker):
        message = f"no process works on: {idle}"
        yield fault(CHECK, message, f"run `draftline sync` with {SETTING}; if it runs, look for sync_failed in its log")


def _waiting(conditions: Sequence[SyncCondition]) -> Iterator[Finding]:
    lagging = _named(
        conditions,
        lambda each: (
            each.lag_s > LAGS_S and not each.push_paused and not each.suspended_reason and not each.needs_worker
        ),
    )
    if lagging:
        message = f"commits have waited for more than {LAGS_S / 60:.0f} minutes: {lagging}"
        yield warning(CHECK, message, "check whether the system of record responds; see docs/operations.md")
    if wrong := _named(conditions, lambda each: each.failed + each.held > 0):
        count = sum(each.failed + each.held for each in conditions)
        message = f"{count:,} records are in SYNC_ERROR: {wrong}"
        yield warning(CHECK, message, "list them with `draftline sync records`; resolve, correct or retry them")
    if unknown := _named(conditions, lambda each: each.in_doubt > 0 and each.lag_s > LAGS_S):
        message = f"the outcome of writes is not known: {unknown}"
        yield warning(CHECK, message, "they are repeated until it is; look at the log of the system of record")


def _unknown_endpoints(conditions: Sequence[SyncCondition], endpoints: Endpoints | None) -> Iterator[Finding]:
    """Yield a fault for each sync whose endpoint the file lacks. Without a usable file, that is another check's."""
    if endpoints is None:
        return
    for each in conditions:
        endpoint = endpoints.get(each.endpoint)
        if endpoint is None or not endpoint.allows(each.tenant_id):
            problem = "does not define" if endpoint is None else "does not allow for this tenant"
            yield fault(
                CHECK, f"{_name(each)} uses endpoint {each.endpoint!r}, which {SETTING} {problem}",
                "add the endpoint, or the tenant to its `tenants`; or change the sync",
            )  # fmt: skip


async def _endpoints(settings: Settings) -> Endpoints | None:
    path = settings.sync_workers.upstreams_file
    if path is None:
        return None
    try:
        return parse(await asyncio.to_thread(read_files, path))
    except (OSError, ValueError):
        return None


def _named(conditions: Sequence[SyncCondition], wanted: Callable[[SyncCondition], bool]) -> str:
    names = [_name(each) for each in conditions if wanted(each)]
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _name(sync: SyncCondition) -> str:
    return f"{sync.upstream!r} of tenant {sync.tenant_id}"
