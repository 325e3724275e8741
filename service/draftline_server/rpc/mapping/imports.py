"""Validation of the messages of an import, with errors that name the affected records.

Callers choose how to split records into chunks, so indexes in errors count from the start of the stream.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from decimal import Decimal
from typing import Any

from draftline.v1 import content_pb2

from ...domain.content import Limits, check_number
from ...domain.errors import DraftlineError, InvalidDocumentError, InvalidFieldError
from ...domain.records import ImportedRecord, KeysOf
from ..validation import check
from .documents import document_contents

_RECORD_FIELD = re.compile(r"chunk\.records\[([0-9]+)\](.*)")


class ImportChecks:
    """Validates the messages of one stream, in order, by the rules of the contract."""

    def __init__(self) -> None:
        self._count = 0  # records before the current message

    def check(self, message: Any) -> None:
        """Raise InvalidFieldError if the message violates the rules."""
        try:
            check(message)
        except InvalidFieldError as error:
            raise self._with_stream_index(error, message) from None
        self._count += len(message.chunk.records)

    def _with_stream_index(self, error: InvalidFieldError, message: content_pb2.ImportContentRequest) -> DraftlineError:
        fields: list[tuple[str, str]] = []
        indexes: list[int] = []
        for field, problem in error.fields:
            match = _RECORD_FIELD.fullmatch(field)
            if match is None:
                return error
            indexes.append(int(match[1]))
            fields.append((f"records[{self._count + indexes[-1]}]{match[2]}", problem))
        first = min(indexes)
        problems_of_first = [": ".join(field) for field, index in zip(fields, indexes, strict=True) if index == first]
        record = message.chunk.records[first]
        numbered = InvalidFieldError("; ".join(problems_of_first), fields=fields)
        return numbered.of_record(self._count + first, record.record_id, record.source)


def imported_record(item: content_pb2.ImportRecord, index: int, limits: Limits, keys_of: KeysOf) -> ImportedRecord:
    """Return a record of an import. Raise an error that names the record if its content cannot be stored."""
    try:
        text, value = document_contents(item.content, limits, f"records[{index}].content")
    except DraftlineError as error:
        named = error.of_record(index, item.record_id, item.source)
        if isinstance(error, InvalidDocumentError) and (path := _path_of_invalid_value(item.content.json)):
            named.metadata = {**named.metadata, "path": path}
        raise named from None
    position = item.position if item.HasField("position") else None
    return ImportedRecord(item.record_id, text, keys_of(value), item.parent_id or None, position, item.source)


class _Number(str):
    """The original text of a number."""

    __slots__ = ()


def _path_of_invalid_value(text: str) -> str | None:
    """Return the JSON Pointer of the first value that cannot be stored, or None, also if the text is not JSON."""
    with suppress(ValueError, RecursionError):
        pending = [("", json.loads(text, parse_int=_Number, parse_float=_Number))]
        while pending:
            path, value = pending.pop()
            if isinstance(value, dict):
                inner = {f"{path}/{key.replace('~', '~0').replace('/', '~1')}": value[key] for key in value}
                pending.extend(reversed(inner.items()))
                if not all(map(_is_storable, value)):
                    return path
            elif isinstance(value, list):
                pending.extend((f"{path}/{index}", value[index]) for index in reversed(range(len(value))))
            elif isinstance(value, str) and not _is_storable(value):
                return path
    return None


def _is_storable(value: str) -> bool:
    try:
        if isinstance(value, _Number):
            check_number(Decimal(value), "")
        value.encode()
    except (InvalidDocumentError, ArithmeticError, UnicodeEncodeError):
        return False
    return "\0" not in value
