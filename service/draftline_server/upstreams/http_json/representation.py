"""Bodies of requests and responses, by the pointers of a resource."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from draftline.upstreams import Create, FieldProblem, PathEdit, Refused, RemoteRecord, WriteItem

from ...domain.edits import MISSING, parse_pointer, resolve
from ..definitions import Resource
from ..field_mapping import FieldTranslator, put, with_edits

SCIM_PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
MAX_MESSAGE_CHARACTERS = 2000
MAX_ID_CHARACTERS = 512

encode = msgspec.json.Encoder(decimal_format="number").encode
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def decode(body: bytes) -> Any:
    """Return the value of a JSON body, with exact numbers. Raise ValueError if it is not valid JSON."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError, ArithmeticError):
        raise ValueError("the body is not valid JSON") from None


def at(value: Any, pointer: str) -> Any:
    """Return the value at a pointer, or None if there is none."""
    found = resolve(value, parse_pointer(pointer, "pointer"))
    return None if found is MISSING else found


class Representation:
    """Builds and reads the records of one resource."""

    def __init__(self, resource: Resource, fields: FieldTranslator) -> None:
        self.resource = resource
        self.fields = fields

    def record_in(self, body: Any, etag: str = "") -> RemoteRecord:
        """Return the record in the body of a response for one record. Raise ValueError if there is none."""
        return self.record(at(body, self.resource.item), etag)

    def record(self, item: Any, etag: str = "") -> RemoteRecord:
        """Return a record, whose version is `etag` if the resource has no pointer to one.

        Raises ValueError if it has no id.
        """
        resource = self.resource
        remote_id = _text(at(item, resource.id))
        if not remote_id or len(remote_id) > MAX_ID_CHARACTERS:
            raise ValueError(f"a record has no id at {resource.id!r}")
        deleted = bool(resource.deleted) and at(item, resource.deleted) not in (None, False)
        return RemoteRecord(
            remote_id=remote_id,
            remote_version=_version(_text(at(item, resource.version)) if resource.version else etag),
            record_id=_text(at(item, resource.reference)) if resource.reference else "",
            deleted=deleted,
            document={} if deleted else self._document(item),
        )

    def _document(self, item: Any) -> dict[str, Any]:
        document = at(item, self.resource.document)
        if document is None:
            return {}
        if not isinstance(document, dict):
            raise ValueError(f"the value at {self.resource.document!r} is not an object")  # noqa: TRY004
        if not self.resource.document:
            document = self._without_attributes(document)
        return self.fields.document_in(document)

    def _without_attributes(self, item: dict[str, Any]) -> dict[str, Any]:
        """Return an item without what is not content: its id, version, reference, mark of deletion and constants."""
        resource = self.resource
        pointers = [resource.id, resource.version, resource.reference, resource.deleted, *resource.constants]
        return with_edits(item, [PathEdit(each, removed=True) for each in pointers if each])

    def created(self, item: WriteItem, write: Create) -> Any:
        """Return the record to send for a creation."""
        record = self._base(self.fields.document_out(write.document))
        if self.resource.reference:
            put(record, parse_pointer(self.resource.reference, "reference"), item.record_id)
        return record

    def merge_patch(self, remote_id: str, edits: Sequence[PathEdit]) -> Any:
        """Return the record to send for edits of the API, as a JSON Merge Patch (RFC 7396)."""
        patch = with_edits({}, [PathEdit(each.path, None if each.removed else each.value) for each in edits])
        return self._with_id(self._base(patch), remote_id)

    def json_patch(self, edits: Sequence[PathEdit]) -> Any:
        """Return a JSON Patch (RFC 6902)."""
        prefix = self.resource.item + self.resource.document
        return [
            {"op": "remove", "path": prefix + each.path}
            if each.removed
            else {"op": "add", "path": prefix + each.path, "value": each.value}
            for each in edits
        ]

    def scim_patch(self, edits: Sequence[PathEdit]) -> Any:
        """Return a patch of SCIM (RFC 7644, section 3.5.2)."""
        operations: list[dict[str, Any]] = []
        for each in edits:
            path = _scim_path(parse_pointer(each.path, "path"))
            operations.append(
                {"op": "remove", "path": path} if each.removed else {"op": "replace", "path": path, "value": each.value}
            )
        return {"schemas": [SCIM_PATCH], "Operations": operations}

    def replaced(self, body: Any, edits: Sequence[PathEdit]) -> Any:
        """Return the body that was read with edits, to be sent whole."""
        prefix = self.resource.item + self.resource.document
        return with_edits(body, [PathEdit(prefix + each.path, each.value, each.removed) for each in edits])

    def wrapped(self, record: Any) -> Any:
        """Return the body for one record."""
        if not self.resource.item:
            return record
        body: dict[str, Any] = {}
        put(body, parse_pointer(self.resource.item, "item"), record)
        return body

    def _base(self, document: dict[str, Any]) -> dict[str, Any]:
        record: dict[str, Any] = {} if self.resource.document else dict(document)
        if self.resource.document:
            put(record, parse_pointer(self.resource.document, "document"), document)
        for pointer, value in self.resource.constants.items():
            put(record, parse_pointer(pointer, "constants"), value)
        return record

    def _with_id(self, record: dict[str, Any], remote_id: str) -> dict[str, Any]:
        if self.resource.send_id:
            put(record, parse_pointer(self.resource.id, "id"), remote_id)
        return record

    def refused(self, status: int, body: Any) -> Refused:
        """Return the outcome for an error of a record, with the details that the API returned."""
        errors = self.resource.errors
        reason = _text(at(body, errors.reason)) or f"HTTP_{status}"
        message = _text(at(body, errors.message)) or f"the upstream responded with status {status}"
        details = at(body, errors.fields)
        problems = []
        for each in details if isinstance(details, list) else ():
            path, problem = _text(at(each, errors.field_path)), _text(at(each, errors.field_message))
            if path:
                problems.append(FieldProblem(self._local_path(path), problem[:MAX_MESSAGE_CHARACTERS]))
        return Refused(reason[:128], message[:MAX_MESSAGE_CHARACTERS], tuple(problems))

    def _local_path(self, path: str) -> str:
        for prefix in (self.resource.item + self.resource.document, self.resource.document):
            if prefix and path.startswith(f"{prefix}/"):
                path = path[len(prefix) :]
                break
        return self.fields.local_path(path)


def quoted(version: str) -> str:
    """Return a version as an entity tag (RFC 9110, section 8.8.3)."""
    return version if version.startswith(('"', 'W/"')) else f'"{version}"'


def _version(text: str) -> str:
    """Return a version that can be sent in a header; empty if it cannot."""
    return text if text.isascii() and text.isprintable() else ""


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return ""
    return str(value)


def _scim_path(path: Sequence[str]) -> str:
    if path[0].lower().startswith("urn:") and len(path) > 1:
        return f"{path[0]}:{'.'.join(path[1:])}"
    return ".".join(path)
