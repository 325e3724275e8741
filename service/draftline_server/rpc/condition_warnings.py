"""Warnings about names in the `condition` of a write that the collection does not have.

A misspelled name makes a condition fail, or hold, for every record. So an error that a condition was not met names it,
and so does the response of a write. Both are added to the outcome of a call, also of a repeated one, and are not
stored. Callers who may not read the collection get none, because a suggestion shows names of its content.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

from draftline.v1 import content_pb2, types_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from ..domain.errors import ConditionNotMetError, DraftlineError
from ..domain.filters.ast import FilterError, Path
from ..domain.filters.named_fields import NamedField, fields_of_filter
from ..domain.filters.parser import parse_filter
from ..domain.records import Actor
from ..store.lists.field_names import FieldNames, UnknownField, has_path, is_in
from .mapping.drafts import to_field_warning
from .status import internal_error

M = TypeVar("M", bound=Message)

MAX_LOOKUP_S = 1.0  # of a call: a write that is done must not wait for its warnings
KNOWN_AGE_S = 300.0
MAX_KNOWN = 10_000  # names of all tenants together
MAX_WARNED = 100  # writes of a batch, so that its response stays small

Key: TypeAlias = tuple[str, str, str, Path]  # of a tenant, a user, a collection and a field
BatchRequest = content_pb2.BatchPatchContentRequest


class ConditionWarnings:
    """Adds warnings to the outcomes of writes. If the names cannot be looked up now, it adds none."""

    def __init__(self, names: FieldNames) -> None:
        self._names = names
        self._known: OrderedDict[Key, float] = OrderedDict()  # when a name was last known

    async def add(self, request: Any, actor: Actor, outcome: Awaitable[M]) -> M:
        """Return the response with warnings, or raise the error of a condition with the name to correct."""
        conditions = list(_conditions(request))
        if not conditions:
            return await outcome
        try:
            response = await outcome
        except ConditionNotMetError as error:
            raise await self._explained(error, request, actor, conditions) from None
        async with _looking_up(request):
            await self._add(response, request, actor, conditions)
        return response

    async def _add(self, response: Any, request: Any, actor: Actor, conditions: list[Any]) -> None:
        parts = response.results if isinstance(request, BatchRequest) else [response]
        warned = 0
        for item, part in zip(conditions, parts, strict=True):
            unknown = await self._unknown(actor, item, part.record.content) if item.condition else []
            part.warnings.extend(map(to_field_warning, unknown))
            warned += bool(unknown)
            if warned == MAX_WARNED:
                return

    async def _explained(
        self, error: ConditionNotMetError, request: Any, actor: Actor, conditions: list[Any]
    ) -> DraftlineError:
        """Return the error with the first unknown name of a condition of its record, if there is one."""
        async with _looking_up(request):
            for index, item in enumerate(conditions):
                if item.record_id != error.metadata.get("record_id") or not item.condition:
                    continue
                field = f"requests[{index}].condition" if isinstance(request, BatchRequest) else "condition"
                for unknown in await self._unknown(actor, item):
                    text = f"{error.message}; {unknown.message}"
                    return ConditionNotMetError(text, fields=[(field, unknown.message)], **error.metadata)
        return error

    async def _unknown(self, actor: Actor, item: Any, content: types_pb2.Document | None = None) -> list[UnknownField]:
        """Return the unknown names of a condition. Names that were known lately need no query."""
        key = actor.tenant_id, actor.user_id, item.collection
        paths = [
            path
            for path in dict.fromkeys(_fields_of(item.condition))
            if not self._is_known((*key, path))
            and not self._learn((*key, path), content is not None and has_field(content, path))
        ]
        if not paths:
            return []
        found = await self._names.unknown(actor, item.collection, [NamedField("condition", path) for path in paths])
        missing = {each.field.path for each in found}
        for path in paths:
            self._learn((*key, path), path not in missing)
        return found

    def _is_known(self, key: Key) -> bool:
        return time.monotonic() - self._known.get(key, -KNOWN_AGE_S) < KNOWN_AGE_S

    def _learn(self, key: Key, is_known: bool) -> bool:
        if is_known:
            self._known[key] = time.monotonic()
            self._known.move_to_end(key)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return is_known


@asynccontextmanager
async def _looking_up(request: Any) -> AsyncIterator[None]:
    """Limit a look-up of names in time, and end it at any error: the outcome of the write is known already."""
    try:
        async with asyncio.timeout(MAX_LOOKUP_S):
            yield
    except (DraftlineError, TimeoutError):
        pass
    except Exception as error:
        internal_error(error, request.DESCRIPTOR.full_name)


def _fields_of(condition: str) -> Sequence[Path]:
    """Return the fields of a condition; none of an invalid one, which is the error of its patch in a partial batch."""
    try:
        return list(fields_of_filter(parse_filter(condition)))
    except FilterError:
        return []


def has_field(content: types_pb2.Document, path: Path) -> bool:
    """Return True if a content, in either of its encodings, has a value at the path, through objects and arrays."""
    if content.WhichOneof("encoding") == "struct":
        return path[0] in content.struct.fields and has_path(MessageToDict(content.struct), path)
    return is_in([content.json], path)


def _conditions(request: Any) -> Iterator[Any]:
    """Yield the parts of a request that may have a condition, if one of them has: itself, or the patches of a batch."""
    if isinstance(request, content_pb2.PatchContentRequest | content_pb2.DeleteContentRequest):
        if request.condition:
            yield request
    elif isinstance(request, BatchRequest) and any(it.condition for it in request.requests):
        yield from request.requests
