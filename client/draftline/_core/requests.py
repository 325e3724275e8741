"""Conversion of arguments to the parts of requests."""

from __future__ import annotations

import uuid
from collections.abc import Container, Iterable, Mapping
from typing import Any

from draftline._core.arguments import checked_value
from draftline.documents import encode
from draftline.models import (
    ConflictPolicy,
    DeclaredField,
    DeclaredOrder,
    FieldType,
    MergeStrategy,
    OnTypeMismatch,
    SortKey,
)
from draftline.operations import Operation
from draftline.v1 import collection_pb2, draft_pb2, types_pb2

_WITHOUT_VALUE = {"remove", "move", "copy"}
_WITH_SOURCE = {"move", "copy"}

OrderLike = DeclaredOrder | SortKey | str | Iterable[SortKey | str]


def json_of(name: str, value: object) -> str:
    """Return the JSON text of an argument. Raise TypeError or ValueError, naming it, if it cannot be encoded."""
    try:
        return encode(value)
    except (TypeError, ValueError) as error:
        separator = " " if str(error).startswith("at /") else ": "
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}{separator}{error}") from None


def document_of(name: str, content: Mapping[str, Any]) -> types_pb2.Document:
    """Return the message for an object. Raise TypeError or ValueError, naming it, if it cannot be encoded."""
    return types_pb2.Document(json=json_of(name, content))


def request_id_of(request_id: str | None) -> str:
    """Return the given idempotency key, or a new one if it is None. Empty: none is sent."""
    return str(uuid.uuid4()) if request_id is None else request_id


def merge_strategy(strategy: MergeStrategy | str | None) -> types_pb2.MergeStrategy.ValueType:
    if strategy is None:
        return types_pb2.MERGE_STRATEGY_UNSPECIFIED
    return types_pb2.MergeStrategy.Value(f"MERGE_STRATEGY_{MergeStrategy(strategy).name}")


def conflict_policy_of(policy: ConflictPolicy | str) -> draft_pb2.ConflictPolicy.ValueType:
    return draft_pb2.ConflictPolicy.Value(f"CONFLICT_POLICY_{ConflictPolicy(policy).name}")


def checked_operations(operations: Iterable[Operation]) -> list[Operation]:
    """Return the operations as a list that can be sent several times. Raise TypeError or ValueError if it cannot."""
    listed: list[Operation] = checked_value("operations", operations, Iterable[Operation])
    operation_list(listed)
    return listed


def operation_list(operations: Iterable[Operation]) -> types_pb2.OperationList:
    return types_pb2.OperationList(operations=[_operation(index, each) for index, each in enumerate(operations)])


def _operation(index: int, operation: Operation) -> types_pb2.Operation:
    # A missing path must not be sent as "", which is the whole document.
    missing = [member for member in ("op", "path") if not isinstance(operation.get(member), str)]
    if missing:
        raise ValueError(f"operation {index} has no {missing[0]!r}")
    message = types_pb2.Operation(op=operation["op"], path=operation["path"])
    # RFC 6902, section 4: members that an operation does not define are ignored.
    if message.op in _WITH_SOURCE and "from" in operation:
        setattr(message, "from", operation["from"])
    if message.op not in _WITHOUT_VALUE and "value" in operation:
        message.value.json = json_of(f"the value of operations[{index}]", operation["value"])
    return message


def declared_fields(
    fields: Iterable[DeclaredField] | Mapping[str, FieldType | str],
) -> list[collection_pb2.DeclaredField]:
    if isinstance(fields, Mapping):
        fields = [DeclaredField(path, kind) for path, kind in fields.items()]
    return [
        collection_pb2.DeclaredField(
            path=each.path,
            type=collection_pb2.FieldType.Value(f"FIELD_TYPE_{FieldType(each.type).name}"),
            on_type_mismatch=collection_pb2.OnTypeMismatch.Value(
                f"ON_TYPE_MISMATCH_{OnTypeMismatch(each.on_type_mismatch).name}"
            ),
        )
        for each in fields
    ]


def declared_order(name: str, order: OrderLike, paths: Container[str]) -> collection_pb2.DeclaredOrder:
    """Return the message for an order of the fields at `paths`.

    Raise ValueError, naming the argument, for a text with a direction, unless a field has the text as its path.
    """
    if isinstance(order, DeclaredOrder):
        order = order.keys
    elif isinstance(order, (SortKey, str)):
        order = (order,)
    keys = [SortKey(each) if isinstance(each, str) else each for each in order]
    for key in keys:
        path, _, direction = key.path.rpartition(" ")
        if path and direction.lower() in ("asc", "desc") and key.path not in paths:
            fix = f"SortKey({path!r}, descending=True)" if direction.lower() == "desc" else repr(path)
            raise ValueError(f"{name} has the path {key.path!r}, which is not a declared field: write {fix}")
    return collection_pb2.DeclaredOrder(
        keys=[collection_pb2.SortKey(path=key.path, descending=key.descending) for key in keys]
    )
