"""Which rpc needs which permissions, of a caller who is known, in the tenant of the request."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Permission(StrEnum):
    """What a token's scopes and a service key may grant in a tenant."""

    CONTENT_READ = "content:read"
    CONTENT_WRITE = "content:write"
    DRAFT_WRITE = "draft:write"
    CHANGE_READ = "change:read"
    COLLECTION_ADMIN = "collection:admin"


ALL = frozenset(Permission)

_READS = frozenset({Permission.CONTENT_READ})
_WRITES = frozenset({Permission.CONTENT_WRITE})
_FOLLOWS = frozenset({Permission.CHANGE_READ})

# All that stand in a row are needed. A row that is missing keeps the server from starting.
NEEDED: Mapping[str, frozenset[Permission]] = {
    "draftline.v1.ContentService.CreateContent": _WRITES,
    "draftline.v1.ContentService.GetContent": _READS,
    "draftline.v1.ContentService.PatchContent": _WRITES,
    "draftline.v1.ContentService.BatchPatchContent": _WRITES,
    "draftline.v1.ContentService.DeleteContent": _WRITES,
    "draftline.v1.ContentService.UndeleteContent": _WRITES,
    "draftline.v1.ContentService.ImportContent": _WRITES,
    "draftline.v1.CollectionService.PutCollection": frozenset({Permission.COLLECTION_ADMIN}),
    "draftline.v1.CollectionService.GetCollection": _READS,
    "draftline.v1.CollectionService.ListCollections": _READS,
    # It answers the merged record: who drafts nothing of a record reads all of it.
    "draftline.v1.DraftService.SaveDraft": frozenset({Permission.DRAFT_WRITE, Permission.CONTENT_READ}),
    "draftline.v1.DraftService.GetMerged": _READS,
    "draftline.v1.DraftService.StreamMerged": _READS,
    "draftline.v1.DraftService.Commit": frozenset({Permission.DRAFT_WRITE, Permission.CONTENT_WRITE}),
    "draftline.v1.DraftService.Discard": frozenset({Permission.DRAFT_WRITE}),
    "draftline.v1.ChangeService.ListChanges": _FOLLOWS,
    "draftline.v1.ChangeService.RevertChange": _WRITES,
    "draftline.v1.ChangeService.WatchChanges": _FOLLOWS,
}
