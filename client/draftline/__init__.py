"""The Python client of Draftline.

    import draftline
    from draftline import op

    with draftline.Client("127.0.0.1:50051", tenant_id="acme", user="ada") as client:
        client.patch_content("movies", "m-1", {"Title": "Alien"}, allow_missing=True)

`AsyncClient` is the same for asyncio. Content is plain dicts; numbers are exact, see
`draftline.documents`. What fails raises a subclass of `DraftlineError`.
"""

from draftline import op
from draftline.aio import AsyncClient
from draftline.errors import (
    AbortedError,
    AlreadyExistsError,
    CallCancelledError,
    ConditionNotMetError,
    DeadlineExceededError,
    DraftlineError,
    FailedPreconditionError,
    FieldViolation,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    OperationTestFailedError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    VersionMismatchError,
)
from draftline.models import (
    UNSET,
    BatchResult,
    Collection,
    CollectionIndex,
    DeclaredField,
    DeclaredOrder,
    FieldType,
    ImportMode,
    ImportRecord,
    ImportResult,
    IndexState,
    MergeStrategy,
    Patch,
    PatchResult,
    Record,
    SortKey,
    Unset,
)
from draftline.op import Operation
from draftline.sync import Client

__all__ = [
    "UNSET",
    "AbortedError",
    "AlreadyExistsError",
    "AsyncClient",
    "BatchResult",
    "CallCancelledError",
    "Client",
    "Collection",
    "CollectionIndex",
    "ConditionNotMetError",
    "DeadlineExceededError",
    "DeclaredField",
    "DeclaredOrder",
    "DraftlineError",
    "FailedPreconditionError",
    "FieldType",
    "FieldViolation",
    "ImportMode",
    "ImportRecord",
    "ImportResult",
    "IndexState",
    "InternalError",
    "InvalidArgumentError",
    "MergeStrategy",
    "NotFoundError",
    "Operation",
    "OperationTestFailedError",
    "Patch",
    "PatchResult",
    "PermissionDeniedError",
    "Record",
    "ResourceExhaustedError",
    "SortKey",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "Unset",
    "VersionMismatchError",
    "op",
]
