"""Records from files: a JSON array, one JSON object per line, or CSV.

Files are streamed: only one record and one chunk of the file are in memory at a time. Integers become `int` and other
numbers `Decimal`, so every digit is preserved. Each record and each error has its position in the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, BinaryIO

from draftline import ImportRecord

from . import text as file_text
from .json_problems import json_problem
from .record_ids import made_id
from .text import RecordFileError as RecordFileError  # noqa: PLC0414  re-exported
from .text import TextPieces

STRETCH_CHARS = 1 << 16
MAX_RECORD_CHARS = 1 << 24

_SPACE = re.compile(r"[ \t\r\n]*")
_DIGITS_OF_INT = 640  # `sys.set_int_max_str_digits` cannot be set lower


class Format(Enum):
    """The format of a record file."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class IdRule:
    """The source of a record's id: one field, several fields, or else its number in the file.

    Numbered records also get their number as their position.
    """

    field: str | None = None
    made_from: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields from which ids are taken or made."""
        return self.made_from if self.field is None else (self.field,)


@dataclass(slots=True)
class FileRecord:
    """A record of a file, with its position there, such as `line 3`.

    `texts` has the original text of the id fields, for a format whose types this program infers (CSV).
    """

    content: dict[str, Any]
    source: str
    texts: Mapping[str, str | None] | None = None

    def values(self, fields: Sequence[str]) -> list[Any]:
        """Return the values of these fields, from which an id is made."""
        return [(self.content if self.texts is None else self.texts).get(field) for field in fields]


def format_of(name: str) -> Format:
    """Return the format for the suffix of a file's name. Raise RecordFileError if the suffix is unknown."""
    formats = {
        ".json": Format.JSON, ".ndjson": Format.NDJSON, ".jsonl": Format.NDJSON, ".csv": Format.CSV, ".tsv": Format.CSV,
    }  # fmt: skip
    found = formats.get(PurePath(name).suffix.lower())
    if found is None:
        raise RecordFileError(f"{name}: the suffix does not identify the format; pass --format")
    return found


def read(file: BinaryIO, format_: Format) -> Iterator[FileRecord]:
    """Yield the records of a JSON array, or of a file with one object per line, in order.

    Raise RecordFileError, with the position in the file, at the first value that is not a valid record.
    """
    found = _array(TextPieces(file)) if format_ is Format.JSON else _lines(file)
    for source, value in found:
        if not isinstance(value, dict):
            hint = "; pass --format json for a JSON array" if isinstance(value, list) else ""
            raise RecordFileError(f"{source}: the record is not an object{hint}")
        yield FileRecord(value, source)


def identified(records: Iterable[FileRecord], rule: IdRule) -> Iterator[ImportRecord]:
    """Yield the records with their ids. Raise RecordFileError if a record has no valid id."""
    for number, record in enumerate(records, 1):
        if rule.field is not None:
            record_id = _id_of(record, rule.field)
        elif rule.made_from:
            record_id = made_id(record.values(rule.made_from))
            if not record_id:
                fields = ", ".join(rule.made_from)
                raise RecordFileError(f"{record.source}: {fields} are empty, so no id can be made")
        else:
            record_id = str(number)
        position = None if rule.fields else number
        yield ImportRecord(record_id, record.content, position=position, source=record.source)


def _id_of(record: FileRecord, field: str) -> str:
    (value,) = record.values([field])
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        given = f"not {_shown(value)}" if field in record.content and value not in (None, "") else "and is empty"
        kind = "field" if record.texts is None else "column"
        raise RecordFileError(f"{record.source}, {kind} {field}: must contain the id, a string or an integer, {given}")
    return str(value)


def _shown(value: Any) -> str:
    """Return a value as JSON for an error message, truncated to 60 characters."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "an array"
    return f"{value:.60}" if isinstance(value, Decimal) else f"{json.dumps(value):.60}"


class _Window:
    """A sliding window over a long text; `at` is the index of the next character to read."""

    def __init__(self, source: TextPieces) -> None:
        self._source = source
        self._text = ""
        self._lines = 0  # line breaks before the window
        self.at = 0

    def peek(self) -> str:
        """Skip whitespace and return the next character, or an empty string at the end."""
        while True:
            space = _SPACE.match(self._text, self.at)
            self.at = space.end() if space else self.at
            if self.at < len(self._text) or not self._read_on():
                return self._text[self.at : self.at + 1]

    def value(self) -> Any:
        """Read one JSON value. Raise RecordFileError if it is invalid."""
        while True:
            try:
                value, self.at = _DECODER.raw_decode(self._text, self.at)
            except json.JSONDecodeError as error:  # the value may continue beyond the window
                if len(self._text) - self.at > MAX_RECORD_CHARS or not self._read_on():
                    raise RecordFileError(f"{json_problem(error)}, on line {self.line(error.pos)}") from None
            else:
                return value

    def line(self, at: int | None = None) -> int:
        """Return the line of the character at an index of the window; by default, that of the next character."""
        return self._lines + 1 + self._text.count("\n", 0, self.at if at is None else at)

    def _read_on(self) -> bool:
        self._lines += self._text.count("\n", 0, self.at)
        rest = self._text[self.at :]
        read = self._source.read(max(STRETCH_CHARS, len(rest)))
        self._text, self.at = rest + read, 0
        return bool(read)


def _array(text: TextPieces) -> Iterator[tuple[str, Any]]:
    window = _Window(text)
    if window.peek() != "[":
        raise RecordFileError("the file is not a JSON array; pass --format ndjson for one object per line")
    window.at += 1
    closing = window.peek() == "]"
    index = 0
    while not closing:
        source = f"record {index + 1} (index {index})"
        yield source, _value(window, source)
        mark = window.peek()
        if mark not in {",", "]"}:
            problem = "a comma is missing in the array" if mark else "the closing bracket of the array is missing"
            raise RecordFileError(f"after {source}, on line {window.line()}: {problem}")
        closing = mark == "]"
        window.at += not closing
        index += 1
    window.at += 1
    if window.peek():
        raise RecordFileError(f"line {window.line()}: there is text after the end of the array")


def _value(window: _Window, source: str) -> Any:
    window.peek()
    try:
        return window.value()
    except RecursionError:
        raise RecordFileError(f"{source}: nested too deeply") from None
    except ValueError as error:
        raise RecordFileError(f"{source}: {error}") from None


def _lines(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    for number, offset, line in file_text.lines(file):
        if line.isspace():
            continue
        source = f"line {number}, byte {offset}"
        yield source, value_of_line(line, source)


def value_of_line(line: str, source: str) -> Any:
    """Return the JSON value of a line. Raise RecordFileError, which begins with `source`, if it is invalid."""
    try:
        return _DECODER.decode(line)
    except RecursionError:
        raise RecordFileError(f"{source}: nested too deeply") from None
    except json.JSONDecodeError as error:
        problem = f"{json_problem(error)}, at character {error.pos + 1} of the line"
        raise RecordFileError(f"{source}: {problem}") from None
    except ValueError as error:
        raise RecordFileError(f"{source}: {error}") from None


def _integer(text: str) -> int:
    return int(text) if len(text) <= _DIGITS_OF_INT else int(Decimal(text))


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_int=_integer, parse_constant=_refuse)
