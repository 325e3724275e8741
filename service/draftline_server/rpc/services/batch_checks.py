"""Checks of batches that the rules of the contract cannot express."""

from __future__ import annotations

from collections.abc import Sequence

from draftline.v1 import content_pb2

from ...domain.errors import DuplicateRecordError, InvalidFieldError


def check_duplicate_ids(record_ids: Sequence[str]) -> None:
    """Raise DuplicateRecordError if an id appears twice."""
    seen: dict[str, int] = {}
    for index, record_id in enumerate(record_ids):
        first = seen.setdefault(record_id, index)
        if first != index:
            field, problem = f"record_ids[{index}]", f"duplicate record_id (also in record_ids[{first}])"
            raise DuplicateRecordError(f"{field}: {problem}", fields=[(field, problem)], record_id=record_id)


def check_batch(request: content_pb2.BatchPatchContentRequest) -> None:
    """Raise InvalidFieldError or DuplicateRecordError if patches of the batch cannot be applied together."""
    seen: dict[tuple[str, str], int] = {}
    for index, item in enumerate(request.requests):
        if item.tenant_id != request.tenant_id:
            raise InvalidFieldError.of(f"requests[{index}].tenant_id", "must equal the tenant_id of the batch")
        for name in ("validate_only", "change_reason", "request_id"):
            if getattr(item, name):
                raise InvalidFieldError.of(f"requests[{index}].{name}", "must be set on the batch, not on an item")
        first = seen.setdefault((item.collection, item.record_id), index)
        if first != index:
            problem = f"duplicate record_id (also in requests[{first}])"
            field = f"requests[{index}].record_id"
            raise DuplicateRecordError(f"{field}: {problem}", fields=[(field, problem)], record_id=item.record_id)
