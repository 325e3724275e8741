"""A CSV parser (RFC 4180) that reports each row's first line and which of its cells were quoted.

Python's csv module does not distinguish quoted cells, and only knows the line on which a row ends.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from typing import BinaryIO

from .text import MAX_LINE_BYTES, RecordFileError, csv_lines

DELIMITERS = (",", ";", "\t", "|")
DELIMITER_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
SAMPLE_LINES = 50  # from which the delimiter is guessed

_REST_OF_QUOTED = re.compile(r'[^"]*+(?:""[^"]*+)*+"')
_SEPARATOR_LINE = re.compile(r'"?sep=([^"\r\n])"?')
_BREAK = re.compile(r"\r\n|\r|\n")
_NONE: frozenset[int] = frozenset()

Line = tuple[int, str, str]


@dataclass(slots=True)  # not frozen: creating a frozen one takes three times as long
class CsvRow:
    """A row: the line on which it begins, its cells, and the indexes of the quoted ones."""

    line: int
    cells: list[str]
    quoted: frozenset[int] = _NONE

    def line_of(self, index: int) -> int:
        """Return the line on which a cell begins: a later line than the row's if cells before it have line breaks."""
        return self.line + sum(len(_BREAK.findall(cell)) for cell in self.cells[:index])


def shown(cell: str) -> str:
    """Return a cell for a message: quoted, on one line, and truncated if long."""
    return json.dumps(cell if len(cell) <= 40 else cell[:39] + "…", ensure_ascii=False)


class CsvTable:
    """The header of a CSV file and its rows, which can be iterated once.

    If `delimiter` is None, it is guessed. `fill` names columns whose name is missing or a duplicate, and accepts rows
    that are shorter or longer than the header.
    """

    def __init__(self, file: BinaryIO, delimiter: str | None = None, *, fill: bool = False) -> None:
        found = csv_lines(file)
        head = list(islice(found, SAMPLE_LINES))
        declared = _SEPARATOR_LINE.fullmatch(head[0][1]) if head else None
        if declared:
            del head[0]
            delimiter = delimiter or declared[1]
        self.is_guessed = delimiter is None
        delimiter = delimiter or guessed_delimiter(head)
        found = chain(head, found)
        self.delimiter = delimiter
        self._fill = fill
        self._rows = rows_of(found, delimiter)
        header = next(self._rows, None)
        if header is None:
            raise RecordFileError("the file is empty; CSV begins with a header line that names the columns")
        self.columns = _named(header, fill=fill)

    def rows(self) -> Iterator[CsvRow]:
        """Yield the rows below the header. Without `fill`, raise RecordFileError if a row's length differs from it."""
        count = len(self.columns)
        for row in self._rows:
            if len(row.cells) != count:
                if not self._fill:
                    raise RecordFileError(self._ragged(row))
                row.cells.extend([""] * (count - len(row.cells)))
            yield row

    def column(self, index: int) -> str:
        """Return the name of a column. Cells beyond the header, which `fill` accepts, have a name as well."""
        return self.columns[index] if index < len(self.columns) else _free_name(f"column_{index + 1}", self.columns)

    def _ragged(self, row: CsvRow) -> str:
        count, given = len(self.columns), len(row.cells)
        near = (
            f"{self.columns[given]!r} and the columns after it have no cell"
            if given < count
            else f"there is no column for {shown(row.cells[count])}"
        )
        name = DELIMITER_NAMES.get(self.delimiter, self.delimiter)
        return (
            f"line {row.line} has {given} cells, the header {count}: {near}; correct it, pass --fill to accept such "
            f"rows, or --delimiter if the delimiter is not the {name}"
        )


def rows_of(found: Iterable[Line], delimiter: str) -> Iterator[CsvRow]:
    """Yield the rows of these lines, without empty lines. Raise RecordFileError if a quote is misplaced or unclosed."""
    following = iter(found)
    for number, text, end in following:
        if '"' in text:
            yield _quoted_row(number, text, end, following, delimiter)
        elif text:
            yield CsvRow(number, text.split(delimiter))


def _quoted_row(number: int, text: str, end: str, following: Iterator[Line], delimiter: str) -> CsvRow:
    cells: list[str] = []
    quoted: set[int] = set()
    at, line = 0, number
    while True:
        if text.startswith('"', at):
            quoted.add(len(cells))
            cell, line, rest, end = _quoted_cell(line, text[at + 1 :], end, following, len(cells))
            cells.append(cell)
            if rest and not rest.startswith(delimiter):
                problem = f"column {len(cells)}: {shown(rest)} follows the closing quote of a cell"
                raise RecordFileError(f"line {line}, {problem}; double a quote inside a quoted cell")
            text, at = rest, 0
        else:
            stop = text.find(delimiter, at)
            cells.append(text[at:] if stop < 0 else text[at:stop])
            text, at = ("", 0) if stop < 0 else (text, stop)
        if at == len(text):
            return CsvRow(number, cells, frozenset(quoted))
        at += 1


def _quoted_cell(line: int, rest: str, end: str, following: Iterator[Line], index: int) -> tuple[str, int, str, str]:
    """Read a cell after its opening quote. Return it, the line on which it ends, the rest of that line, and its end."""
    opened, parts, size = line, [], 0
    while (match := _REST_OF_QUOTED.match(rest)) is None:
        parts.append(rest + end)
        size += len(rest) + len(end)
        if size > MAX_LINE_BYTES:
            problem = f"the quoted cell has over {MAX_LINE_BYTES:,} characters: is its closing quote missing?"
            raise RecordFileError(f"line {opened}, column {index + 1}: {problem}")
        found = next(following, None)
        if found is None:
            raise RecordFileError(f"line {opened}, column {index + 1}: the quote that opens the cell is never closed")
        line, rest, end = found
    parts.append(match[0][:-1])
    return "".join(parts).replace('""', '"'), line, rest[match.end() :], end


def guessed_delimiter(head: list[Line]) -> str:
    """Return the delimiter for which most of the first rows have as many cells as the header, which must be several."""
    best, best_score = DELIMITERS[0], (0.0, 1)
    for delimiter in DELIMITERS:
        counts: list[int] = []
        with suppress(RecordFileError):  # the sample may end in the middle of a row
            for row in rows_of(head, delimiter):
                counts.append(len(row.cells))  # appended one by one, to keep the rows before an error
        if counts and counts[0] > 1:
            score = sum(count == counts[0] for count in counts) / len(counts), counts[0]
            if score > best_score:
                best, best_score = delimiter, score
    return best


def _named(header: CsvRow, *, fill: bool) -> list[str]:
    """Return unique names for the columns. Without `fill`, raise RecordFileError for a missing or duplicate name."""
    names: list[str] = []
    for index, name in enumerate(header.cells):
        position = f"line {header.line}, column {index + 1}"
        if not name.strip():
            if not fill:
                raise RecordFileError(
                    f"{position}: the header has no name for it; name it, or pass --fill to generate a name"
                )
            names.append(_free_name(f"column_{index + 1}", [*names, *header.cells]))
        elif name in names:
            if not fill:
                first = names.index(name) + 1
                problem = f"{shown(name)} is already the name of column {first}"
                raise RecordFileError(f"{position}: {problem}; rename one, or pass --fill to number them")
            names.append(_free_name(f"{name}_{index + 1}", [*names, *header.cells]))
        else:
            names.append(name)
    return names


def _free_name(name: str, taken: Iterable[str]) -> str:
    names = set(taken)
    while name in names:
        name += "_"
    return name
