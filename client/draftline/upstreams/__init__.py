"""The interface between Draftline and a system of record: what a connector implements.

A connector is a package of yours that speaks to one kind of system. It implements `Upstream`, and names a `Connector`
in the entry point group `draftline.upstreams`. `draftline.testing.upstream` has tests that every connector must pass.

Documents are in the names of the collection (local names). A connector translates them to those of the system and
back, by the fields of `CollectionBinding`. Values are JSON values of Python: dict, list, str, bool, None, and numbers
as int, Decimal or float. `draftline.documents` encodes and decodes them without losing a digit.
"""

from __future__ import annotations

from .configuration import CollectionBinding, Connector, Direction, Endpoint, FieldMapping, Secret
from .errors import (
    BatchRefusedError,
    CursorExpiredError,
    ThrottledError,
    UnauthorizedError,
    UnreachableError,
    UpstreamError,
)
from .protocol import Capabilities, Upstream
from .records import Page, RemoteRecord
from .writes import (
    Applied,
    Create,
    Delete,
    Exists,
    FieldProblem,
    Gone,
    NotTaken,
    Outcome,
    PathEdit,
    Refused,
    Stale,
    Unknown,
    Update,
    Write,
    WriteItem,
)

__all__ = [
    "Applied",
    "BatchRefusedError",
    "Capabilities",
    "CollectionBinding",
    "Connector",
    "Create",
    "CursorExpiredError",
    "Delete",
    "Direction",
    "Endpoint",
    "Exists",
    "FieldMapping",
    "FieldProblem",
    "Gone",
    "NotTaken",
    "Outcome",
    "Page",
    "PathEdit",
    "Refused",
    "RemoteRecord",
    "Secret",
    "Stale",
    "ThrottledError",
    "UnauthorizedError",
    "Unknown",
    "UnreachableError",
    "Update",
    "Upstream",
    "UpstreamError",
    "Write",
    "WriteItem",
]
