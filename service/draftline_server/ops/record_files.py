"""Records from files: a JSON array, an object a line, or CSV.

Files are read as a stream: what is held at once is a record and a stretch of the file, whatever
its size. Integers stay `int` and other numbers become `Decimal`, so that every digit is kept.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, BinaryIO, TextIO

Row = dict[str, Any]

STRETCH_CHARS = 1 << 16
MAX_RECORD_CHARS = 1 << 24
MAX_ID_CHARS = 128

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS = {"": None, "true": True, "false": False}
_DIGITS_OF_INT = 640  # `sys.set_int_max_str_digits` cannot be set lower


class Format(Enum):
    """How a file holds its records."""

    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


class RecordFileError(ValueError):
    """The file cannot be read; the text says where and why."""


@dataclass(frozen=True, slots=True)
class IdRule:
    """Where a record's id comes from: one field, or made from several, or else its place in the file."""

    field: str | None = None
    made_from: tuple[str, ...] = ()


def format_of(name: str) -> Format:
    """By the suffix of the file's name."""
    formats = {".json": Format.JSON, ".ndjson": Format.NDJSON, ".jsonl": Format.NDJSON, ".csv": Format.CSV}
    found = formats.get(PurePath(name).suffix.lower())
    if found is None:
        raise RecordFileError(f"{name}: the suffix does not tell the format; name it with --format")
    return found


def read(file: BinaryIO, format_: Format, text_fields: frozenset[str] = frozenset()) -> Iterator[Row]:
    """The file's records in their order; `text_fields` are columns of a CSV file whose cells stay text.

    RecordFileError, with the place in the file, for what is no record; nothing is read after it.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="" if format_ is Format.CSV else None)
    rows = {Format.JSON: _array, Format.NDJSON: _lines}.get(format_)
    count = 0
    try:
        for count, row in enumerate(rows(text) if rows else _csv(text, text_fields), 1):
            if not isinstance(row, dict):
                raise RecordFileError(f"record {count} is no object")
            yield row
    except RecursionError:
        raise RecordFileError(f"record {count + 1} is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise RecordFileError(f"the file is not UTF-8, in or after record {count + 1}: {error.reason}") from None
    except (json.JSONDecodeError, csv.Error) as error:
        raise RecordFileError(f"record {count + 1}: {getattr(error, 'msg', error)}") from None
    finally:
        if not file.closed:  # as it may be for a reading that was given up
            text.detach()


def identified(rows: Iterable[Row], rule: IdRule) -> Iterator[tuple[str, Row]]:
    """The rows, each with its id. RecordFileError for one whose id cannot be had."""
    for number, row in enumerate(rows, 1):
        if rule.field is not None:
            yield _id_in(row, rule.field, number), row
        elif rule.made_from:
            record_id = made_id(row.get(field) for field in rule.made_from)
            if not record_id:
                raise RecordFileError(f"record {number} has nothing in {', '.join(rule.made_from)} to make an id of")
            yield record_id, row
        else:
            yield str(number), row


def made_id(values: Iterable[object]) -> str:
    """A readable id, the same for the same values: `the-land-girls-jun-12-1998`. Null and missing are left out.

    One of over 128 characters is cut, and ends in a digest of the whole.
    """
    text = " ".join(str(value) for value in values if value is not None)
    made = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFKC", text).casefold()).strip("-")
    if len(made) <= MAX_ID_CHARS:
        return made
    digest = hashlib.sha256(made.encode()).hexdigest()[:16]
    return f"{made[: MAX_ID_CHARS - 17]}-{digest}"


def _id_in(row: Row, field: str, number: int) -> str:
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise RecordFileError(f"record {number}: {field!r} must hold its id, a text or an integer, not {value!r}")
    return str(value)


class _Window:
    """A stretch of a long text, moved along it: `at` is the next character to be read."""

    def __init__(self, source: TextIO) -> None:
        self._source = source
        self._text = ""
        self.at = 0

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            space = _SPACE.match(self._text, self.at)
            self.at = space.end() if space else self.at
            if self.at < len(self._text) or not self._read_on():
                return self._text[self.at : self.at + 1]

    def value(self) -> Any:
        """Reads one JSON value, as much of the text as it takes."""
        while True:
            try:
                value, self.at = _DECODER.raw_decode(self._text, self.at)
            except json.JSONDecodeError:  # perhaps it only goes on beyond the stretch
                if len(self._text) - self.at > MAX_RECORD_CHARS or not self._read_on():
                    raise
            else:
                return value

    def _read_on(self) -> bool:
        rest = self._text[self.at :]
        read = self._source.read(max(STRETCH_CHARS, len(rest)))
        self._text, self.at = rest + read, 0
        return bool(read)


def _array(text: TextIO) -> Iterator[Any]:
    window = _Window(text)
    if window.peek() != "[":
        raise RecordFileError("the file is no JSON array; for an object a line, say --format ndjson")
    window.at += 1
    closing = window.peek() == "]"
    while not closing:
        window.peek()
        yield window.value()
        mark = window.peek()
        if mark not in {",", "]"}:
            problem = "the array goes on without a comma" if mark else "the array has no end"
            raise RecordFileError(problem)
        closing = mark == "]"
        window.at += not closing
    window.at += 1
    if window.peek():
        raise RecordFileError("there is more after the array's end")


def _lines(text: TextIO) -> Iterator[Any]:
    while line := text.readline(MAX_RECORD_CHARS):
        if len(line) == MAX_RECORD_CHARS:
            raise RecordFileError(f"a line has over {MAX_RECORD_CHARS:,} characters: is this an object a line?")
        if not line.isspace():
            yield _DECODER.decode(line)


def _csv(text: TextIO, text_fields: frozenset[str]) -> Iterator[Row]:
    csv.field_size_limit(MAX_RECORD_CHARS)
    reader = csv.reader(text, strict=True)
    header = next(reader, [])
    if len(set(header)) != len(header):
        raise RecordFileError("the CSV header names a column twice")
    if unknown := text_fields - set(header):
        raise RecordFileError(f"the CSV header has no column {', '.join(sorted(unknown))}")
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(header):
            raise RecordFileError(f"line {reader.line_num} has {len(cells)} cells, the header {len(header)}")
        pairs = zip(header, cells, strict=True)
        yield {name: cell if name in text_fields else _cell(cell) for name, cell in pairs}


def _cell(text: str) -> Any:
    if _NUMBER.fullmatch(text):
        return _DECODER.decode(text)
    return _WORDS.get(text, text)


def _integer(text: str) -> int:
    return int(text) if len(text) <= _DIGITS_OF_INT else int(Decimal(text))


def _refuse(name: str) -> Any:
    raise RecordFileError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_int=_integer, parse_constant=_refuse)
