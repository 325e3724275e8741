"""The state of an index that a collection spec requires."""

from __future__ import annotations

from draftline.models.str_enum import StrEnum


class IndexState(StrEnum):
    """The state of an index."""

    BUILDING = "building"  # reads are correct, but not yet fast
    READY = "ready"
    INVALID = "invalid"  # the build was interrupted; put_collection rebuilds it
