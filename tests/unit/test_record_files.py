"""Records from files: every format, exact, in bounded memory, and what is refused with its place."""

from __future__ import annotations

import io
import json
import tracemalloc
from decimal import Decimal
from typing import Any

import pytest
from draftline_server.ops import record_files
from draftline_server.ops.record_files import Format, IdRule, RecordFileError
from hypothesis import given
from hypothesis import strategies as st


def read(text: str | bytes, format_: Format = Format.JSON, *text_fields: str) -> list[dict[str, Any]]:
    data = text.encode() if isinstance(text, str) else text
    return list(record_files.read(io.BytesIO(data), format_, frozenset(text_fields)))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
records = st.lists(st.dictionaries(st.text(), values, max_size=4), max_size=8)


@given(records, st.sampled_from([None, 1]), st.integers(1, 40))
def test_array_is_read_the_same_whatever_the_stretch(
    rows: list[dict[str, Any]], indent: int | None, stretch: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_files, "STRETCH_CHARS", stretch)
        assert read(json.dumps(rows, indent=indent)) == rows


@given(records)
def test_lines_are_read_as_they_were_written(rows: list[dict[str, Any]]) -> None:
    assert read("\r\n".join(json.dumps(row) for row in rows), Format.NDJSON) == rows


def test_numbers_keep_every_digit() -> None:
    text = '{"a": 123456789012345678901234567890, "b": 0.10, "c": 1e400, "d": ' + "9" * 5000 + "}"
    (row,) = read(f"[{text}]")
    assert row == {
        "a": 123456789012345678901234567890,
        "b": Decimal("0.10"),
        "c": Decimal("1e400"),
        "d": 10**5000 - 1,
    }
    assert read(text, Format.NDJSON) == [row]


def test_mark_at_the_start_of_the_file_is_skipped() -> None:
    assert read(b'\xef\xbb\xbf[{"a": 1}]') == [{"a": 1}]
    assert read(b"\xef\xbb\xbfa\n1\n", Format.CSV) == [{"a": 1}]


def test_csv_cells_become_what_they_say() -> None:
    text = 'zip,n,d,empty,yes,text\n01234,12,-1.50,,true,"a, ""b""\nc"\n77,1e3,0.1,,False,x\n'
    assert read(text, Format.CSV, "zip") == [
        {"zip": "01234", "n": 12, "d": Decimal("-1.50"), "empty": None, "yes": True, "text": 'a, "b"\nc'},
        {"zip": "77", "n": Decimal("1e3"), "d": Decimal("0.1"), "empty": None, "yes": "False", "text": "x"},
    ]


@pytest.mark.parametrize(
    ("text", "format_", "problem"),
    [
        ("", Format.JSON, "no JSON array"),
        ('{"a": 1}', Format.JSON, "no JSON array; for an object a line"),
        ('[{"a": 1}', Format.JSON, "has no end"),
        ('[{"a": 1}, ', Format.JSON, "record 2: "),
        ('[{"a": 1},]', Format.JSON, "record 2: "),
        ('[{"a": 1} {"a": 2}]', Format.JSON, "without a comma"),
        ('[{"a": 1}] []', Format.JSON, "more after the array's end"),
        ('[{"a": 1}, 2]', Format.JSON, "record 2 is no object"),
        ('[{"a": NaN}]', Format.JSON, "NaN is no JSON number"),
        ("[" + '{"a":' * 100_000, Format.JSON, "record 1 is nested too deeply"),
        ('{"a": 1}\n{"a": 1', Format.NDJSON, "record 2: "),
        ('{"a": 1} {"a": 2}', Format.NDJSON, "record 1: Extra data"),
        ("[1]", Format.NDJSON, "record 1 is no object"),
        (b'[{"a": "\xff"}]', Format.JSON, "not UTF-8"),
        ("a,b\n1\n", Format.CSV, "line 2 has 1 cells, the header 2"),
        ("a,b\n1,2,3\n", Format.CSV, "line 2 has 3 cells, the header 2"),
        ("a,a\n1,2\n", Format.CSV, "a column twice"),
        ('a\n"x\n', Format.CSV, "record 1: "),
    ],
)
def test_broken_file_is_refused_with_the_place(text: str | bytes, format_: Format, problem: str) -> None:
    with pytest.raises(RecordFileError, match=problem):
        read(text, format_)


def test_column_to_be_kept_as_text_must_be_there() -> None:
    with pytest.raises(RecordFileError, match="no column zip"):
        read("a\n1\n", Format.CSV, "zip")


@pytest.mark.parametrize("format_", Format)
def test_large_file_is_read_in_bounded_memory(format_: Format) -> None:
    row, count = {"a": "x" * 1000}, 20_000
    between = {Format.JSON: ",\n", Format.NDJSON: "\n", Format.CSV: "\n"}[format_]
    body = between.join([row["a"] if format_ is Format.CSV else json.dumps(row)] * count)
    file = io.BytesIO({Format.JSON: f"[{body}]", Format.NDJSON: body, Format.CSV: f"a\n{body}"}[format_].encode())
    tracemalloc.start()
    try:
        assert sum(1 for _ in record_files.read(file, format_)) == count
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("values", "made"),
    [
        (["The Land Girls", "Jun 12 1998"], "the-land-girls-jun-12-1998"),
        ([1776, "Nov 09 1972"], "1776-nov-09-1972"),
        ([None, "Dec 25 2002"], "dec-25-2002"),
        (["Alien³", None], "alien3"),
        (["Жизнь", "人生"], "жизнь-人生"),
        (["!?", None], ""),
    ],
)
def test_made_id_is_readable(values: list[object], made: str) -> None:
    assert record_files.made_id(values) == made


def test_long_made_ids_are_cut_and_stay_apart() -> None:
    ids = {record_files.made_id(["word " * 100, ending]) for ending in "ab"}
    assert [len(made) for made in ids] == [128, 128]


def test_ids_come_from_a_field_or_are_made_or_are_the_place() -> None:
    rows = [{"id": "a", "n": 1}, {"id": 7, "n": 2}]
    assert [made for made, _ in record_files.identified(rows, IdRule(field="id"))] == ["a", "7"]
    assert [made for made, _ in record_files.identified(rows, IdRule(made_from=("n", "id")))] == ["1-a", "2-7"]
    assert list(record_files.identified(rows, IdRule())) == [("1", rows[0]), ("2", rows[1])]


@pytest.mark.parametrize("value", [None, "", 1.5, True, ["a"], Decimal("1.0")])
def test_value_that_is_no_id_is_refused(value: object) -> None:
    with pytest.raises(RecordFileError, match="record 1: 'id' must hold its id"):
        list(record_files.identified([{"id": value}], IdRule(field="id")))


def test_nothing_to_make_an_id_of_is_refused() -> None:
    with pytest.raises(RecordFileError, match="record 1 has nothing in a, b"):
        list(record_files.identified([{"a": None}], IdRule(made_from=("a", "b"))))


def test_reading_that_is_given_up_outlives_its_file() -> None:
    file = io.BytesIO(b'{"id": 1}\n{"id": 2}\n')
    rows = record_files.read(file, Format.NDJSON)
    assert next(rows) == {"id": 1}
    file.close()
    rows.close()
