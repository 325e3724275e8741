"""Records from CSV: the types of the columns are decided first, and then used to convert the rows.

A seekable file is read twice: for the types, as far as they need it, and for the records. In a pipe, the first rows
decide the types, and a later cell that does not match its column's type is an error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO

from .csv_files import CsvRow, CsvTable
from .csv_types import ColumnType, TypeRules, UndecidedColumnError, learn, ruled
from .readers import FileRecord
from .text import RecordFileError

SAMPLE_ROWS = 10_000  # rows of a pipe that decide its types
SAMPLE_CHARS = 1 << 25  # or the rows with this many characters, whichever comes first


class CsvRecords:
    """The columns of a CSV file with their types, and its records, which can be iterated once.

    Raises RecordFileError, with the position in the file, if it is not valid CSV or a cell does not match its type.
    """

    def __init__(
        self, file: BinaryIO, rules: TypeRules, *, id_fields: Collection[str] = (), delimiter: str | None = None,
        fill: bool = False,
    ) -> None:  # fmt: skip
        """Read the header and decide the types. `id_fields` are required columns from whose cells ids are made."""
        start = file.tell() if file.seekable() else None
        self.table = CsvTable(file, delimiter, fill=fill)
        self._refuse_unknown([*id_fields, *rules.flags, *rules.named])
        self._id_columns = [(name, self.table.columns.index(name)) for name in id_fields]
        self.columns = ruled(self.table.columns, rules)
        self._sample: list[CsvRow] = []
        if all(column.is_said for column in self.columns):
            return
        if start is None:
            self._sample = _first(self.table.rows())
            learn(self.columns, self._sample)
        else:
            learn(self.columns, self.table.rows())
            file.seek(start)
            guessed = self.table.is_guessed
            self.table = CsvTable(file, self.table.delimiter, fill=fill)
            self.table.is_guessed = guessed

    def __iter__(self) -> Iterator[FileRecord]:
        count = len(self.columns)
        for row in chain(_taken(self._sample), self.table.rows()):
            cells, quoted = row.cells, row.quoted
            content = self._content(row)
            for index in range(count, len(cells)):
                if cells[index] or index in quoted:
                    content[self.table.column(index)] = cells[index]
            texts = {
                name: cells[index] if cells[index] or index in quoted else None for name, index in self._id_columns
            }
            yield FileRecord(content, f"line {row.line}", texts)

    def _content(self, row: CsvRow) -> dict[str, Any]:
        if row.quoted:
            return self._exact_content(row)
        content: dict[str, Any] = {}
        for column, cell in zip(self.columns, row.cells, strict=False):  # with --fill, rows may be longer
            if column.type is ColumnType.TEXT:
                content[column.name] = cell or None
            elif not column.is_said and column.is_usual(cell):
                content[column.name] = column.usual_value(cell)
            elif cell:
                return self._exact_content(row)
            else:
                content[column.name] = None
        return content

    def _exact_content(self, row: CsvRow) -> dict[str, Any]:
        try:
            return {column.name: column.value(row, index) for index, column in enumerate(self.columns)}
        except UndecidedColumnError as error:
            names = [column.name for column in self.columns if column.type is None]
            hint = f"; no cell decided the types of these columns: {', '.join(names)}" if len(names) > 1 else ""
            raise RecordFileError(f"{error}{hint}") from None

    def _refuse_unknown(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.table.columns:
                there = ", ".join(self.table.columns)
                hint = "; check --delimiter" if len(self.table.columns) == 1 else ""
                raise RecordFileError(f"line 1: the header has no column {name!r}, only {there:.500}{hint}")


def _first(rows: Iterator[CsvRow]) -> list[CsvRow]:
    """Return the first rows of a pipe, which decide the types of its columns."""
    found, room = [], SAMPLE_CHARS
    for row in rows:
        found.append(row)
        room -= sum(map(len, row.cells))
        if len(found) == SAMPLE_ROWS or room < 0:
            break
    return found


def _taken(rows: list[CsvRow]) -> Iterator[CsvRow]:
    """Yield the rows and remove them from the list, to free their memory."""
    rows.reverse()
    while rows:
        yield rows.pop()
