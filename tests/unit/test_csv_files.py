"""Rows of CSV: as Python's own reader has them, with their lines, quotes and delimiters, and what is refused."""

from __future__ import annotations

import csv
import io

import pytest
from draftline_server.record_files import csv_files
from draftline_server.record_files.csv_files import DELIMITERS, CsvRow, CsvTable
from draftline_server.record_files.readers import RecordFileError
from hypothesis import given
from hypothesis import strategies as st


def table(text: str | bytes, delimiter: str | None = None, *, fill: bool = False) -> CsvTable:
    return CsvTable(io.BytesIO(text.encode() if isinstance(text, str) else text), delimiter, fill=fill)


cells = st.text(st.sampled_from('ab1,;|\t"\n\r \u2028é'), max_size=6)
grids = st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), max_size=6))


@given(grids, st.sampled_from(DELIMITERS), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_rows_are_those_that_were_written(grid: list[list[str]], delimiter: str, end: str, every: bool) -> None:
    if not every:  # Python 3.11 quotes cells with line breaks only if they are those that end rows
        unquoted = str.maketrans("", "", "\r\n".replace(end, "") if end != "\r\n" else "")
        grid = [[cell.translate(unquoted) for cell in row] for row in grid]
    text = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow([f"c{index}" for index in range(len(grid[0]) if grid else 1)])
    writer.writerows(grid)
    found = list(table(text.getvalue(), delimiter).rows())
    assert [row.cells for row in found] == grid
    assert all(row.quoted == frozenset(range(len(row.cells))) for row in found) or not every
    lines = text.getvalue().replace("\r\n", "\n").replace("\r", "\n").split("\n")
    line = 2
    for row in found:
        assert row.line == line
        breaks = sum(cell.replace("\r\n", "\n").replace("\r", "\n").count("\n") for cell in row.cells)
        line += 1 + breaks
    assert line == len(lines)


@given(st.text(st.sampled_from('ab,"\n'), max_size=30))
def test_rows_are_those_of_pythons_reader_or_refused(text: str) -> None:
    try:
        expected = [row for row in csv.reader(io.StringIO(f"c\n{text}", newline=""), strict=True) if row][1:]
    except csv.Error:
        with pytest.raises(RecordFileError, match="line "):
            list(table(f"c\n{text}", ",", fill=True).rows())
    else:
        assert [row.cells for row in table(f"c\n{text}", ",", fill=True).rows()] == expected


def test_quotes_and_lines_of_cells_are_known() -> None:
    rows = list(table('a,b,c\n"x\ny",1,"q"\n\n2,,""\n').rows())
    assert rows == [CsvRow(2, ["x\ny", "1", "q"], frozenset({0, 2})), CsvRow(5, ["2", "", ""], frozenset({2}))]
    assert [rows[0].line_of(index) for index in range(3)] == [2, 3, 3]


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("id,name\n1,a\n", ","),
        ("id;name\n1;a\n", ";"),
        ("id\tname\n1\ta;b,c\n", "\t"),
        ("id|name\n1|a\n", "|"),
        ("preis;name\n1,50;a\n2,20;b\n", ";"),
        ("Name, first;Born;City\nSmith, J;1970;Rome\n", ";"),
        ('"a;b;c",d\n1,2\n', ","),
        ('"a;b",c;d\n"x\n', ","),
        ("id\n1\n", ","),
        ("id\n1;2\n", ","),
        ("", ","),
    ],
)
def test_delimiter_is_guessed(text: str, delimiter: str) -> None:
    head = [(number, line, "\n") for number, line in enumerate(text.split("\n"), 1)]
    assert csv_files.guessed_delimiter(head) == delimiter


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file is empty"),
        ("a,b\n1,2\n3\n", "line 3 has 1 cells, the header 2: 'b' and the columns after it .* --fill"),
        ('a,b\n"x\ny",1\n3,4,5\n', 'line 4 has 3 cells, the header 2: there is no column for "5".* --delimiter'),
        ("a,,c\n1,2,3\n", "line 1, column 2: the header has no name for it.* --fill"),
        ("a, \n1,2\n", "line 1, column 2: the header has no name for it"),
        ("a,b,a\n1,2,3\n", 'line 1, column 3: "a" is already the name of column 1.* --fill'),
        ('a,b\n1,"x"y\n', 'line 2, column 2: "y" follows the closing quote'),
        ('a,b\n1,2\n1,"x\n2,3\n', "line 3, column 2: the quote that opens the cell is never closed"),
        (b"a\r\nx\r\n\xe9\r\n", "line 3, byte 6: 0xE9 is not valid UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), "UTF-16"),
    ],
)
def test_broken_table_is_refused_with_the_place(text: str | bytes, problem: str) -> None:
    with pytest.raises(RecordFileError, match=problem):
        list(table(text).rows())


def test_cell_that_never_ends_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_files, "MAX_LINE_BYTES", 100)
    with pytest.raises(RecordFileError, match="line 2, column 1: the quoted cell has over 100 characters"):
        list(table('a,b\n"' + "x\n" * 100, ",").rows())


def test_fill_names_columns_and_accepts_ragged_rows() -> None:
    filled = table(",a,a,column_1\n1,2,3,4,5\n1\n", fill=True)
    assert filled.columns == ["column_1_", "a", "a_3", "column_1"]
    assert [row.cells for row in filled.rows()] == [["1", "2", "3", "4", "5"], ["1", "", "", ""]]
    assert filled.column(4) == "column_5"


def test_line_that_says_the_delimiter_is_taken_for_it() -> None:
    found = table("\ufeffsep=|\r\na|b;c\r\n1|2\r\n")
    assert (found.columns, found.is_guessed) == (["a", "b;c"], False)
    assert list(found.rows()) == [CsvRow(3, ["1", "2"])]
    assert table('"sep=;"\na,b\n', ",").columns == ["a", "b"]


def test_mark_at_the_start_of_the_file_is_skipped() -> None:
    assert table("\ufeffa,b\n").columns == ["a", "b"]
