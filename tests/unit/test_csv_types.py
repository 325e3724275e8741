"""Types of CSV columns: every cell decides, rules come first, and digits and quotes are never lost."""

from __future__ import annotations

import csv
import io
import json
import re
import tracemalloc
from decimal import Decimal
from typing import Any

import pytest
from draftline_server.record_files import csv_records
from draftline_server.record_files.csv_records import CsvRecords
from draftline_server.record_files.csv_types import ColumnType, TypeRules
from draftline_server.record_files.readers import RecordFileError
from hypothesis import given
from hypothesis import strategies as st

TEXT, NUMBER, BOOLEAN, DATE = ColumnType.TEXT, ColumnType.NUMBER, ColumnType.BOOLEAN, ColumnType.DATE


class Pipe(io.BytesIO):
    """A file that can be read once."""

    def seekable(self) -> bool:
        return False


def read(text: str, rules: TypeRules | None = None, kind: type[io.BytesIO] = io.BytesIO, **options: Any) -> CsvRecords:
    return CsvRecords(kind(text.encode()), rules or TypeRules(), **options)


def contents(records: CsvRecords) -> list[dict[str, Any]]:
    return [record.content for record in records]


def column(*cells: str, **rules: Any) -> list[Any]:
    """The values of a column of these cells."""
    return [content["c"] for content in contents(read("c,x\n" + "".join(f"{cell},\n" for cell in cells), **rules))]


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-2.50", "0", ""], [1, Decimal("-2.50"), 0, None]),
        (["04L", "18", "1E8"], ["04L", "18", "1E8"]),
        (["12", "1e3"], ["12", "1e3"]),
        (["12", "+3"], ["12", "+3"]),
        (["12", "007"], ["12", "007"]),
        (["12", ".5"], ["12", ".5"]),
        (["12", "5."], ["12", "5."]),
        (["12", " 5"], ["12", " 5"]),
        (["12", '"5"'], ["12", "5"]),
        (["12", '""', ""], ["12", "", None]),
        (["1" * 1000, "-" + "1" * 1000], [int("1" * 1000), -int("1" * 1000)]),
        (["1" * 1001, "2"], ["1" * 1001, "2"]),
        (["true", "false", ""], [True, False, None]),
        (["true", "1"], ["true", "1"]),
        (["true", "True"], ["true", "True"]),
        (["NaN", "1"], ["NaN", "1"]),
        (["٣", "3"], ["٣", "3"]),
        (["", ""], [None, None]),
    ],
)
def test_column_has_one_type(cells: list[str], values: list[Any]) -> None:
    assert column(*cells) == values
    assert [type(value) for value in column(*cells)] == [type(value) for value in values]


plain = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
cells = st.sampled_from(["", "1", "-0.50", "007", "1E8", "+1", "true", "false", "x", "12345678901234567890.10"])


@given(st.lists(st.tuples(cells, st.booleans()), max_size=8), st.sampled_from([io.BytesIO, Pipe]))
def test_types_follow_every_cell_of_the_column(given_cells: list[tuple[str, bool]], kind: type[io.BytesIO]) -> None:
    """The oracle, by the words of the documentation."""
    text = "".join(f'"{cell}",\n' if quoted else f"{cell},\n" for cell, quoted in given_cells)
    filled = [(cell, quoted) for cell, quoted in given_cells if cell or quoted]
    if filled and all(plain.fullmatch(cell) and not quoted for cell, quoted in filled):
        values = [json.loads(cell, parse_float=Decimal) if cell else None for cell, _ in given_cells]
    elif all(cell in {"true", "false"} and not quoted for cell, quoted in filled):
        values = [cell == "true" if cell else None for cell, _ in given_cells]
    else:
        values = [cell if cell or quoted else None for cell, quoted in given_cells]
    found = [content["c"] for content in contents(read(f"c,x\n{text}", kind=kind))]
    assert found == values
    assert [str(value) for value in found] == [str(value) for value in values]  # every digit, and 1 is not true


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["18", "04L"], 'c: text ("04L" on line 3 is not a number, as "18" on line 2 is)'),
        (["18", "1E8"], 'c: text ("1E8" on line 3 is written with an exponent, as "18" on line 2 is)'),
        (["007"], 'c: text ("007" on line 2 has a leading zero)'),
        (["+7"], 'c: text ("+7" on line 2 has a plus sign)'),
        (['"7"'], 'c: text ("7" on line 2 is quoted)'),
        (["7", "true"], 'c: text ("true" on line 3 is not a number, as "7" on line 2 is)'),
        (["7"], "c: number"),
        (["true"], "c: boolean"),
        ([""], "c: null, all cells are empty"),
    ],
)
def test_decision_is_told_with_what_made_it(cells: list[str], told: str) -> None:
    text = "c,x\n" + "".join(f"{cell},\n" for cell in cells)
    assert str(read(text).columns[0]) == told


def test_rules_come_before_cells_in_their_order() -> None:
    asked = []

    def declared() -> dict[str, ColumnType]:
        asked.append(True)
        return dict.fromkeys("abcde", NUMBER)

    text = "a,b,c,d,e\n1,1,1,1,1\n"
    rules = TypeRules({"a": BOOLEAN}, {"a": TEXT, "b": TEXT}, id_column="c", declared=declared)
    assert contents(read(text, rules)) == [{"a": True, "b": "1", "c": "1", "d": 1, "e": 1}]
    assert asked == [True]
    rules = TypeRules({"a": NUMBER}, is_text=True, declared=declared)
    assert contents(read(text, rules)) == [{"a": 1, "b": "1", "c": "1", "d": "1", "e": "1"}]
    assert asked == [True]


@pytest.mark.parametrize(
    ("type_", "cells", "values"),
    [
        (NUMBER, ["007", "+1.50", "1E3", ".5", "5.", '" 7 "', '""'],
         [7, Decimal("1.50"), Decimal("1E+3"), Decimal("0.5"), Decimal("5"), 7, None]),
        (BOOLEAN, ["TRUE", "no", "1", "off", '"T"', ""], [True, False, True, False, True, None]),
        (DATE, ["2026-11-20", "Nov 20 2026", ""], ["2026-11-20", "Nov 20 2026", None]),
        (ColumnType.TIMESTAMP, ["2026-11-20T10:00:00Z", "2026-11-20"], ["2026-11-20T10:00:00Z", "2026-11-20"]),
        (TEXT, ["007", '""', ""], ["007", "", None]),
    ],
)  # fmt: skip
def test_column_whose_type_is_said_reads_all_its_forms(type_: ColumnType, cells: list[str], values: list[Any]) -> None:
    assert column(*cells, rules=TypeRules({"c": type_})) == values


@pytest.mark.parametrize(
    ("type_", "cell"),
    [(NUMBER, "n/a"), (NUMBER, "1e1001"), (NUMBER, "1" * 1001), (NUMBER, "NaN"), (BOOLEAN, "2"), (DATE, "2026-13-01"),
     (DATE, "20261101"), (ColumnType.TIMESTAMP, "10:00")],
)  # fmt: skip
def test_cell_that_is_not_of_the_said_type_is_refused_with_place_and_flag(type_: ColumnType, cell: str) -> None:
    told = "line 2, column c: .*declared by the collection spec.*--text c"
    with pytest.raises(RecordFileError, match=told):
        column(cell, rules=TypeRules(declared=lambda: {"c": type_}))


@pytest.mark.parametrize(
    ("later", "problem"),
    [
        ("04L,1,x", 'line 7, column a: "04L" is not a number, as the cells before it are; pass --text a'),
        ('"1",1,x', 'line 7, column a: "1" is quoted, as the cells before it are; pass --text a'),
        ("1,true,x", 'line 7, column b: "true" is not a number, as the cells before it are; pass --text b'),
        ("1,1,5", "line 7, column c d: \"5\" is the first cell .*; pass --number 'c d', or --text 'c d'"),
        ("1,1,x", "line 7, column c d: .*; pass --text 'c d'; no cell decided the types of these columns: c d, e"),
    ],
)
def test_later_cell_of_a_pipe_that_contradicts_is_refused_with_row_and_flag(
    later: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_records, "SAMPLE_ROWS", 4)
    text = "a,b,c d,e\n" + "1,2,,\n" * 5 + later + ",\n"
    with pytest.raises(RecordFileError, match=problem):
        contents(read(text, kind=Pipe))
    assert len(contents(read(text))) == 6  # what can be read twice is


def test_rows_of_a_pipe_that_decided_come_first() -> None:
    text = "n\n" + "".join(f"{number}\n" for number in range(20_000))
    assert [content["n"] for content in contents(read(text, kind=Pipe))] == list(range(20_000))


@pytest.mark.parametrize("kind", [io.BytesIO, Pipe])
def test_records_know_their_lines_and_cells_as_they_stand(kind: type[io.BytesIO]) -> None:
    records = read('id,n\n"a\nb",1.50\n\n007,\n', kind=kind, id_fields=["id", "n"])
    assert [(each.source, each.values(["id", "n"])) for each in records] == [
        ("line 2", ["a\nb", "1.50"]),
        ("line 5", ["007", None]),
    ]


def test_cells_beyond_the_header_are_kept_as_text() -> None:
    assert contents(read("a\n1,2,\n3\n", fill=True)) == [{"a": 1, "column_2": "2"}, {"a": 3}]


def test_column_that_is_named_must_be_there() -> None:
    with pytest.raises(RecordFileError, match="the header has no column 'zip', only a, b"):
        read("a,b\n1,2\n", TypeRules({"zip": TEXT}))
    with pytest.raises(RecordFileError, match="no column 'id', only id:name; check --delimiter"):
        read("id:name\n1:2\n", id_fields=["id"])


def test_file_is_read_from_where_it_stands() -> None:
    file = io.BytesIO(b"skipped\na\n1\nx\n")
    file.readline()
    assert contents(CsvRecords(file, TypeRules())) == [{"a": "1"}, {"a": "x"}]


@pytest.mark.parametrize("kind", [io.BytesIO, Pipe])
def test_large_file_is_read_in_bounded_memory(kind: type[io.BytesIO], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_records, "SAMPLE_ROWS", 100)
    text = io.StringIO()
    csv.writer(text).writerows([["a", "b"], *([number, "x" * 1000] for number in range(20_000))])
    file = kind(text.getvalue().encode())
    del text
    tracemalloc.start()
    try:
        assert sum(1 for _ in CsvRecords(file, TypeRules())) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
