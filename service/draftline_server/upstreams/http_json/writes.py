"""Writes of records: a request for each, or a request for a batch."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from draftline.upstreams import (
    BatchRefusedError,
    Create,
    Exists,
    NotTaken,
    Outcome,
    Refused,
    Stale,
    ThrottledError,
    Unknown,
    UnreachableError,
    Update,
    UpstreamError,
    WriteItem,
)

from ...domain.edits import parse_pointer
from ..definitions import Batch, Resource, Single
from ..field_mapping import UnmappableError, put
from ..http_client import Response, ResponseLostError
from .outcomes import Outcomes
from .representation import Representation, at, decode, quoted
from .requests import Requests, retry_after_s
from .urls import InvalidUrlError, expand

OPERATIONS = {"Create": "create", "Update": "update", "Delete": "delete"}
METHODS = {"create": "POST", "update": "PATCH", "delete": "DELETE"}
REFUSALS = (400, 409, 412, 413, 422)  # of a batch as a whole
PATCH_TYPES = {
    "merge_patch": "application/merge-patch+json",
    "json_patch": "application/json-patch+json",
    "scim_patch": "application/scim+json",
}


class Writes:
    """Writes to one resource."""

    def __init__(self, base_url: str, representation: Representation, requests: Requests) -> None:
        self._base_url = base_url
        self._resource: Resource = representation.resource
        self._representation = representation
        self._requests = requests
        self._outcomes = Outcomes(representation, requests)

    async def write(self, items: Sequence[WriteItem], atomic: bool) -> Sequence[Outcome]:
        """Return an outcome for each item. Raise an UpstreamError only if nothing was applied."""
        if self._resource.batch is not None:
            outcomes = await self._write_batch(self._resource.batch, items, atomic)
        else:
            outcomes = await self._write_each(items)
        found = await asyncio.gather(*map(self._found, items, outcomes))
        return list(found)

    async def _write_each(self, items: Sequence[WriteItem]) -> Sequence[Outcome]:
        results = await asyncio.gather(*map(self._write_one, items), return_exceptions=True)
        errors = [each for each in results if isinstance(each, BaseException)]
        for error in errors:
            if not isinstance(error, UpstreamError):
                raise error
        if len(errors) == len(items):
            raise errors[0]
        if all(isinstance(each, NotTaken) for each in results):
            waits = [each.after_s or 0.0 for each in results if isinstance(each, NotTaken)]
            raise ThrottledError(after_s=max(waits) or None)
        return [NotTaken(str(each)) if isinstance(each, BaseException) else each for each in results]

    async def _write_one(self, item: WriteItem) -> Outcome:
        try:
            kind = OPERATIONS[type(item.write).__name__]
            request: Single | None = getattr(self._resource, kind)
            if request is None:
                return Refused("NOT_OFFERED", f"the resource has no request for {kind}")
            url = expand(self._base_url, request.url, {"id": item.remote_id, "record_id": item.record_id})
            is_whole = isinstance(item.write, Update) and getattr(request, "format", "") == "replace"
            if is_whole:
                return await self._replace(item, request, url)
            content = self._content(item)
            return await self._send(item, request, url, content, item.expected_remote_version)
        except UnmappableError as error:
            return error.refused
        except InvalidUrlError as error:
            return Refused("UNMAPPABLE", str(error))

    def _content(self, item: WriteItem) -> Any:
        if isinstance(item.write, Create):
            return self._representation.wrapped(self._representation.created(item, item.write))
        if not isinstance(item.write, Update):
            return None
        edits = self._representation.fields.edits_out(item.write.edits)
        match self._resource.update.format if self._resource.update else "":
            case "json_patch":
                return self._representation.json_patch(edits)
            case "scim_patch":
                return self._representation.scim_patch(edits)
        return self._representation.wrapped(self._representation.merge_patch(item.remote_id, edits))

    async def _replace(self, item: WriteItem, request: Single, url: str) -> Outcome:
        """Read the record, and send it whole with the edits, if it is still at the version that was read."""
        assert isinstance(item.write, Update)  # noqa: S101  for the type checker
        response = await self._requests.read(url, self._resource.headers)
        if response.status != 200:
            return self._outcomes.outcome(item, response, None)
        try:
            body = decode(response.body)
            current = self._representation.record_in(body, response.headers.get("etag", ""))
        except ValueError as error:
            raise UnreachableError(f"the response is not valid: {error}") from None
        expected = item.expected_remote_version
        if expected is not None and self._resource.conditional_writes and current.remote_version != expected:
            return Stale(current)
        content = self._representation.replaced(body, self._representation.fields.edits_out(item.write.edits))
        return await self._send(item, request, url, content, current.remote_version or None)

    async def _send(self, item: WriteItem, request: Single, url: str, content: Any, expected: str | None) -> Outcome:
        method = request.method or METHODS[OPERATIONS[type(item.write).__name__]]
        headers = self._headers(item, expected, is_put=isinstance(item.write, Create) and method == "PUT")
        content_type = request.content_type or self._default_type(item)
        try:
            response = await self._requests.send(
                method, url, headers, content, content_type=content_type, message_id=item.idempotency_key
            )
        except ResponseLostError as error:
            return Unknown(str(error))
        return self._outcomes.outcome(item, response, _body(response))

    def _default_type(self, item: WriteItem) -> str:
        is_update = isinstance(item.write, Update) and self._resource.update is not None
        kind = self._resource.update.format if is_update and self._resource.update else ""
        return PATCH_TYPES.get(kind, "application/json")

    def _headers(self, item: WriteItem, expected: str | None, *, is_put: bool) -> Mapping[str, str]:
        resource = self._resource
        headers = {name.lower(): value for name, value in resource.headers.items()}
        if resource.idempotency_keys_s:
            headers[resource.idempotency_header] = item.idempotency_key
        if expected is not None and resource.conditional_writes:
            headers["if-match"] = quoted(expected)
        if is_put:
            headers["if-none-match"] = "*"
        if resource.prefer_representation:
            headers.setdefault("prefer", "return=representation")
        return headers

    async def _write_batch(self, batch: Batch, items: Sequence[WriteItem], atomic: bool) -> Sequence[Outcome]:
        outcomes: list[Outcome] = [Unknown("the response has no result for the item")] * len(items)
        sent: list[tuple[int, Any]] = []
        for index, item in enumerate(items):
            try:
                sent.append((index, self._batched(batch, item)))
            except UnmappableError as error:
                outcomes[index] = error.refused
        if not sent or (atomic and len(sent) < len(items)):
            aborted = Refused("ABORTED", "another item of the batch cannot be sent")
            return [each if isinstance(each, Refused) else aborted for each in outcomes]
        content: dict[str, Any] = {}
        put(content, parse_pointer(batch.items, "items"), [each for _, each in sent])
        # A batch that is repeated with the same items has the same id.
        message_id = str(uuid.uuid5(uuid.NAMESPACE_OID, " ".join(items[index].idempotency_key for index, _ in sent)))
        url = expand(self._base_url, batch.url, {})
        try:
            response = await self._requests.send(
                batch.method, url, self._resource.headers, content,
                content_type=batch.content_type, message_id=message_id,
            )  # fmt: skip
        except ResponseLostError as error:
            lost = Unknown(str(error))
            return [lost if isinstance(each, Unknown) else each for each in outcomes]
        for (index, _), outcome in zip(sent, self._batch_outcomes(batch, items, sent, response), strict=True):
            outcomes[index] = outcome
        return outcomes

    def _batched(self, batch: Batch, item: WriteItem) -> Any:
        """Return the item of a batch."""
        record: Any = None
        if isinstance(item.write, Create):
            record = self._representation.created(item, item.write)
        elif isinstance(item.write, Update):
            edits = self._representation.fields.edits_out(item.write.edits)
            record = self._representation.merge_patch(item.remote_id, edits)
        members = {
            batch.operation: OPERATIONS[type(item.write).__name__],
            batch.key: item.idempotency_key,
            batch.id: item.remote_id or None,
            batch.expected_version: item.expected_remote_version if self._resource.conditional_writes else None,
            batch.record: record,
        }
        result: dict[str, Any] = {}
        for pointer, value in members.items():
            if pointer and value is not None:
                put(result, parse_pointer(pointer, "batch"), value)
        return result

    def _batch_outcomes(
        self, batch: Batch, items: Sequence[WriteItem], sent: Sequence[tuple[int, Any]], response: Response
    ) -> list[Outcome]:
        body = _body(response)
        results = at(body, batch.results)
        if not isinstance(results, list) or len(results) != len(sent):
            if response.status in REFUSALS:
                raise BatchRefusedError(self._outcomes.hidden(self._representation.refused(response.status, body)))
            if 300 <= response.status < 500:
                raise self._requests.error(response)
            problem = f"status {response.status}, without a result for each item"
            return [Unknown(problem, retry_after_s(response))] * len(sent)
        outcomes: list[Outcome] = []
        for (index, _), result in zip(sent, results, strict=True):
            status = at(result, batch.status)
            if not str(status).isdecimal():
                outcomes.append(Unknown("the result has no status"))
                continue
            each = Response(int(status), {}, b"")
            try:
                outcomes.append(self._outcomes.outcome(items[index], each, at(result, batch.result), wrapped=False))
            except UpstreamError as error:
                outcomes.append(NotTaken(str(error)))
        return outcomes

    async def _found(self, item: WriteItem, outcome: Outcome) -> Outcome:
        """Return `Exists` with the record, if the API did not return it and it can be found."""
        if outcome != Exists():
            return outcome
        try:
            return Exists(await self._find(item))
        except (UpstreamError, ValueError):
            return outcome

    async def _find(self, item: WriteItem) -> Any:
        resource, representation = self._resource, self._representation
        values = {"record_id": item.record_id, "id": item.record_id}
        if resource.find is not None:
            url = expand(self._base_url, resource.find.url, values)
            body, _ = await self._requests.read_page(url, resource.headers)
            found = at(body, resource.find.items)
            records = [representation.record(each) for each in found] if isinstance(found, list) else []
            return next((each for each in records if each.record_id == item.record_id), None)
        if resource.read is not None and resource.create is not None and resource.create.method == "PUT":
            response = await self._requests.read(expand(self._base_url, resource.read.url, values), resource.headers)
            if response.status == 200:
                return representation.record_in(decode(response.body), response.headers.get("etag", ""))
        return None


def _body(response: Response) -> Any:
    """Return the decoded body, or None if it is not JSON."""
    try:
        return decode(response.body) if response.body else None
    except ValueError:
        return None
