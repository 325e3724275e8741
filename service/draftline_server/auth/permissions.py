"""The permissions that each RPC requires of an authenticated caller in the tenant of the request."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Permission(StrEnum):
    """A permission that a token's scopes or a service key can grant in a tenant."""

    CONTENT_READ = "content:read"
    CONTENT_WRITE = "content:write"
    CONTENT_PURGE = "content:purge"
    DRAFT_WRITE = "draft:write"
    DRAFT_ADMIN = "draft:admin"
    CHANGE_READ = "change:read"
    COLLECTION_ADMIN = "collection:admin"
    SYNC_READ = "sync:read"
    SYNC_WRITE = "sync:write"
    SYNC_ADMIN = "sync:admin"
    TENANTS_READ = "tenants:read"
    TENANTS_WRITE = "tenants:write"


ALL = frozenset(Permission)

_READS = frozenset({Permission.CONTENT_READ})
_WRITES = frozenset({Permission.CONTENT_WRITE})
_CHANGE_READS = frozenset({Permission.CHANGE_READ})
_SYNC_READS = frozenset({Permission.SYNC_READ})
_SYNC_WRITES = frozenset({Permission.SYNC_WRITE})
_SYNC_ADMINISTERS = frozenset({Permission.SYNC_ADMIN})

# All permissions in a row are required. The server does not start if an RPC has no row.
NEEDED: Mapping[str, frozenset[Permission]] = {
    "draftline.v1.ContentService.CreateContent": _WRITES,
    "draftline.v1.ContentService.GetContent": _READS,
    "draftline.v1.ContentService.BatchGetContent": _READS,
    "draftline.v1.ContentService.PatchContent": _WRITES,
    "draftline.v1.ContentService.BatchPatchContent": _WRITES,
    "draftline.v1.ContentService.StreamPatches": _WRITES,
    "draftline.v1.ContentService.DeleteContent": _WRITES,
    "draftline.v1.ContentService.UndeleteContent": _WRITES,
    "draftline.v1.ContentService.ImportContent": _WRITES,
    "draftline.v1.ContentService.PurgeContent": frozenset({Permission.CONTENT_PURGE}),
    "draftline.v1.CollectionService.PutCollection": frozenset({Permission.COLLECTION_ADMIN}),
    "draftline.v1.CollectionService.GetCollection": _READS,
    "draftline.v1.CollectionService.ListCollections": _READS,
    # The response is the merged record, so an empty draft edit would otherwise reveal the whole record.
    "draftline.v1.DraftService.SaveDraft": frozenset({Permission.DRAFT_WRITE, Permission.CONTENT_READ}),
    "draftline.v1.DraftService.GetMerged": _READS,
    "draftline.v1.DraftService.StreamMerged": _READS,
    "draftline.v1.DraftService.Commit": frozenset({Permission.DRAFT_WRITE, Permission.CONTENT_WRITE}),
    "draftline.v1.DraftService.Discard": frozenset({Permission.DRAFT_WRITE}),
    "draftline.v1.DraftService.GetStatistics": _READS,
    "draftline.v1.DraftService.ListDraftUsers": frozenset({Permission.DRAFT_ADMIN}),
    "draftline.v1.ChangeService.ListChanges": _CHANGE_READS,
    "draftline.v1.ChangeService.RevertChange": _WRITES,
    "draftline.v1.ChangeService.WatchChanges": _CHANGE_READS,
    "draftline.v1.SyncService.PutSync": _SYNC_ADMINISTERS,
    "draftline.v1.SyncService.GetSync": _SYNC_ADMINISTERS,
    "draftline.v1.SyncService.ListSyncs": _SYNC_ADMINISTERS,
    "draftline.v1.SyncService.PauseSync": _SYNC_ADMINISTERS,
    "draftline.v1.SyncService.ResumeSync": _SYNC_ADMINISTERS,
    "draftline.v1.SyncService.RunSync": _SYNC_ADMINISTERS,
    "draftline.v1.SyncService.GetSyncStatus": _SYNC_READS,
    # The conflicts of a record are parts of its content.
    "draftline.v1.SyncService.ListSyncRecords": _SYNC_READS | _READS,
    "draftline.v1.SyncService.ListSyncEvents": _SYNC_READS | _READS,
    "draftline.v1.SyncService.RetrySync": _SYNC_WRITES,
    "draftline.v1.SyncService.ResolveSync": _SYNC_WRITES,
    "draftline.v1.SyncService.LinkRecord": _SYNC_WRITES,
    # Their requests have no tenant_id, so they are authorized in the tenant "". Only callers of all tenants have
    # access.
    "draftline.v1.TenantService.ListTenants": frozenset({Permission.TENANTS_READ}),
    "draftline.v1.TenantService.SetTenantQuotas": frozenset({Permission.TENANTS_WRITE}),
}

# Request flags that include content in the response: if any is set, CONTENT_READ is required as well.
CONTENT_FLAGS: Mapping[str, tuple[str, ...]] = {
    "draftline.v1.DraftService.Commit": ("validate_only", "include_content"),
    "draftline.v1.DraftService.Discard": ("include_content",),
    "draftline.v1.ChangeService.RevertChange": ("validate_only", "include_content"),
}


# Permissions that are granted only by name, because what they allow is not for ordinary callers.
NAMED_ONLY = frozenset(
    {Permission.CONTENT_PURGE, Permission.DRAFT_ADMIN, Permission.TENANTS_READ, Permission.TENANTS_WRITE}
)


def needed_by(method: str, message: Any) -> frozenset[Permission]:
    """Return the permissions that a call requires.

    They are those of its RPC, CONTENT_READ if it requests content, and DRAFT_ADMIN if it names another user's drafts.
    """
    needed = NEEDED[method]
    if getattr(message, "draft_user_id", ""):
        needed |= {Permission.DRAFT_ADMIN}
    return needed | _READS if any(getattr(message, flag) for flag in CONTENT_FLAGS.get(method, ())) else needed


def shows_content(needed: frozenset[Permission]) -> bool:
    """Return whether an RPC that requires these permissions may return content to its caller."""
    return bool(needed & {Permission.CONTENT_READ, Permission.CHANGE_READ})
