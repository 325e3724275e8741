"""The types of CSV columns: the rules that decide them, and the conversion of cells to values.

A type belongs to a column, not to a cell: `04L`, `18` and `1E8` in one column are three texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from ..domain.filters.values import MAX_NUMBER_DIGITS, FieldType, read_value
from .csv_files import CsvRow, shown
from .text import RecordFileError

PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_ANY_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_DIGITS_OF_INT = 640  # `sys.set_int_max_str_digits` cannot be set lower
_BOOLEANS = {"true": True, "false": False}
_SAID_BOOLEANS = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}


class UndecidedColumnError(RecordFileError):
    """A cell has a value, but its column was empty in the rows that decided the types."""


class ColumnType(StrEnum):
    """The type of a column's values: JSON text, number or boolean. Dates and timestamps are validated text."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"


EXPECTED = {
    ColumnType.NUMBER: "not a number of at most 1,000 digits before and after the decimal point",
    ColumnType.BOOLEAN: "not a boolean (true, false, yes, no, t, f, y, n, on, off, 1, 0)",
    ColumnType.DATE: "not a date such as 2026-11-20 or Nov 20 2026",
    ColumnType.TIMESTAMP: "neither a timestamp such as 2026-11-20T10:00:00Z nor a date",
}


@dataclass(frozen=True, slots=True)
class TypeRules:
    """The rules that decide the types of columns before their cells do. Mappings are from column name to type.

    In order of precedence: `flags`; `file`; `id_column`, which is text; `is_text`, which makes every column text; and
    `declared`, which is called only if a column is still undecided.
    """

    flags: Mapping[str, ColumnType] = field(default_factory=dict)
    file: Mapping[str, ColumnType] = field(default_factory=dict)
    named: Collection[str] = ()  # the columns of `file` that are required
    id_column: str | None = None
    is_text: bool = False
    declared: Callable[[], Mapping[str, ColumnType]] = dict


@dataclass(slots=True)
class Column:
    """A column: its type, or None while no cell has decided it, and the reason for the type."""

    name: str
    type: ColumnType | None = None
    why: str = ""
    is_said: bool = False  # decided by a rule, not by its cells
    first: tuple[str, int] | None = None  # the cell that made it numbers or booleans, and its line

    def __str__(self) -> str:
        text = f"{self.name}: {self.type or 'null, all cells are empty'}"
        return f"{text} ({self.why})" if self.why else text

    def learn(self, cell: str, line: int, *, is_quoted: bool) -> None:
        """Update the type from a cell. The column must not be decided by a rule, and must not be text yet."""
        kind, problem = _kind_of(cell, is_quoted=is_quoted)
        if self.type is None:
            self.type, self.first = kind, (cell, line)
        elif kind is not self.type:
            kind_before = "number" if self.type is ColumnType.NUMBER else "true or false"
            problem = problem if kind is ColumnType.TEXT else f"is not a {kind_before}"
            problem += f", as {shown(self.first[0])} on line {self.first[1]} is" if self.first else ""
            self.type = ColumnType.TEXT
        if self.type is ColumnType.TEXT:
            self.why = f"{shown(cell)} on line {line} {problem}"

    def is_usual(self, cell: str) -> bool:
        """Return whether an unquoted cell matches the number or boolean type inferred from earlier cells."""
        if self.type is ColumnType.NUMBER:
            return len(cell) <= MAX_NUMBER_DIGITS and PLAIN_NUMBER.fullmatch(cell) is not None
        return self.type is ColumnType.BOOLEAN and cell in _BOOLEANS

    def usual_value(self, cell: str) -> Any:
        """Return the value of a cell for which `is_usual` is true."""
        return _BOOLEANS[cell] if self.type is ColumnType.BOOLEAN else Decimal(cell) if "." in cell else _integer(cell)

    def value(self, row: CsvRow, index: int) -> Any:
        """Return a cell's value. Raise RecordFileError, with its position, if it does not match the column's type."""
        cell, is_quoted = row.cells[index], index in row.quoted
        if self.type is ColumnType.TEXT:
            return cell if cell or is_quoted else None
        if cell == "" and (self.is_said or not is_quoted):
            return None
        if self.is_said:
            return self._said_value(row, index)
        kind, problem = _kind_of(cell, is_quoted=is_quoted)
        if kind is not self.type:
            error = RecordFileError if self.type else UndecidedColumnError
            raise error(self._contradiction(row, index, kind, problem))
        return _BOOLEANS[cell] if kind is ColumnType.BOOLEAN else _number(cell)

    def _said_value(self, row: CsvRow, index: int) -> Any:
        cell = row.cells[index].strip()
        if self.type is ColumnType.NUMBER:
            value = _number(cell) if _ANY_NUMBER.fullmatch(cell) else None
            if value is not None and _is_within_limits(value):
                return value
        elif self.type is ColumnType.BOOLEAN:
            if (truth := _SAID_BOOLEANS.get(cell.lower())) is not None:
                return truth
        elif self.type is not None and read_value(row.cells[index], FieldType[self.type.name]) is not None:
            return row.cells[index]
        position = f"line {row.line_of(index)}, column {self.name}"
        problem = f"{shown(row.cells[index])} is {EXPECTED[self.type or ColumnType.TEXT]}"
        raise RecordFileError(f"{position}: {problem} ({self.why}); correct it, or pass --text {_quoted(self.name)}")

    def _contradiction(self, row: CsvRow, index: int, kind: ColumnType, problem: str) -> str:
        position = f"line {row.line_of(index)}, column {self.name}"
        cell = shown(row.cells[index])
        if self.type is None:
            text = f"{cell} is the first cell with a value, too late to decide the column's type"
        else:
            text = (
                f"{cell} {problem if kind is ColumnType.TEXT else f'is not a {self.type}'}, as the cells before it are"
            )
        wanted = kind if self.type is None else ColumnType.TEXT
        flag = f"pass --{wanted} {_quoted(self.name)}"
        either = f", or --text {_quoted(self.name)}" if wanted is not ColumnType.TEXT else ""
        return f"{position}: {text}; {flag}{either}"


def ruled(names: Sequence[str], rules: TypeRules) -> list[Column]:
    """Return the columns, with the types that the rules decide."""
    columns = [Column(name) for name in names]
    left = [column for column in columns if not _decide(column, rules)]
    declared = rules.declared() if left else {}
    for column in left:
        if column.name in declared:
            column.type, column.why, column.is_said = declared[column.name], "declared by the collection spec", True
    return columns


def learn(columns: Sequence[Column], rows: Iterable[CsvRow]) -> None:
    """Infer the types of the columns that no rule decided from the cells of these rows."""
    open_ = [(index, column) for index, column in enumerate(columns) if not column.is_said]
    for row in rows:
        if not open_:
            return
        cells, quoted, settled = row.cells, row.quoted, False
        for index, column in open_:
            cell = cells[index]
            if not quoted and column.is_usual(cell):
                continue
            if cell or index in quoted:
                column.learn(cell, row.line_of(index) if quoted else row.line, is_quoted=index in quoted)
                settled = settled or column.type is ColumnType.TEXT
        if settled:
            open_ = [(index, column) for index, column in open_ if column.type is not ColumnType.TEXT]


def _decide(column: Column, rules: TypeRules) -> bool:
    name = column.name
    if name in rules.flags:
        column.type, column.why = rules.flags[name], f"--{rules.flags[name]}"
    elif name in rules.file:
        column.type, column.why = rules.file[name], "from the file of --types"
    elif name == rules.id_column:
        column.type, column.why = ColumnType.TEXT, "the ids"
    elif rules.is_text:
        column.type, column.why = ColumnType.TEXT, "--types text"
    else:
        return False
    column.is_said = True
    return True


def _kind_of(cell: str, *, is_quoted: bool) -> tuple[ColumnType, str]:
    """Return the type of a cell on its own and, if that is text, why it is not a number."""
    if is_quoted:
        return ColumnType.TEXT, "is quoted"
    if cell in _BOOLEANS:
        return ColumnType.BOOLEAN, ""
    if PLAIN_NUMBER.fullmatch(cell):
        if all(len(part) <= MAX_NUMBER_DIGITS for part in cell.lstrip("-").split(".")):
            return ColumnType.NUMBER, ""
        return ColumnType.TEXT, f"has more than {MAX_NUMBER_DIGITS:,} digits"
    if not _ANY_NUMBER.fullmatch(cell):
        return ColumnType.TEXT, "is not a number"
    if cell[0] == "+":
        return ColumnType.TEXT, "has a plus sign"
    if "e" in cell or "E" in cell:
        return ColumnType.TEXT, "is written with an exponent"
    if "." in (cell[-1], cell.lstrip("-")[0]):
        return ColumnType.TEXT, "has no digit on one side of the decimal point"
    return ColumnType.TEXT, "has a leading zero"


def _number(cell: str) -> int | Decimal:
    number = Decimal(cell)  # exact, of any length
    return number if "." in cell or "e" in cell or "E" in cell else int(number)


def _integer(cell: str) -> int:
    return int(cell) if len(cell) <= _DIGITS_OF_INT else int(Decimal(cell))


def _is_within_limits(value: int | Decimal) -> bool:
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -MAX_NUMBER_DIGITS and number.adjusted() < MAX_NUMBER_DIGITS


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w./-]+", name) else "'" + name.replace("'", "'\\''") + "'"
