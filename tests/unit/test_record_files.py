"""Records from files: every format, exact, in bounded memory, and what is refused with its place."""

from __future__ import annotations

import io
import json
import tracemalloc
from decimal import Decimal
from typing import Any

import pytest
from draftline_server.record_files import readers as record_files
from draftline_server.record_files.readers import FileRecord, Format, IdRule, RecordFileError
from hypothesis import given
from hypothesis import strategies as st


def found(text: str | bytes, format_: Format = Format.JSON) -> list[FileRecord]:
    data = text.encode() if isinstance(text, str) else text
    return list(record_files.read(io.BytesIO(data), format_))


def read(text: str | bytes, format_: Format = Format.JSON) -> list[dict[str, Any]]:
    return [record.content for record in found(text, format_)]


def rows(*contents: dict[str, Any]) -> list[FileRecord]:
    return [FileRecord(content, f"line {number}") for number, content in enumerate(contents, 1)]


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
    assert read(b'\xef\xbb\xbf{"a": 1}', Format.NDJSON) == [{"a": 1}]


@pytest.mark.parametrize(
    ("text", "format_", "problem"),
    [
        ("", Format.JSON, "not a JSON array"),
        ('{"a": 1}', Format.JSON, "not a JSON array; pass --format ndjson"),
        (
            '[{"a": 1}',
            Format.JSON,
            r"after record 1 \(index 0\), on line 1: the closing bracket of the array is missing",
        ),
        ('[{"a": 1}, ', Format.JSON, r"record 2 \(index 1\): "),
        ('[\n{"a": 1},\n]', Format.JSON, r"record 2 \(index 1\): a value is missing, on line 3"),
        ('[{"a": 1}\n{"a": 2}]', Format.JSON, "on line 2: a comma is missing in the array"),
        ('[{"a": 1}] []', Format.JSON, "line 1: there is text after the end of the array"),
        ('[{"a": 1}, 2]', Format.JSON, r"record 2 \(index 1\): the record is not an object"),
        ('[{"a": NaN}]', Format.JSON, r"record 1 \(index 0\): NaN is not a JSON number"),
        ("[" + '{"a":' * 100_000, Format.JSON, r"record 1 \(index 0\): nested too deeply"),
        (
            '{"a": 1}\n{"a": 1',
            Format.NDJSON,
            "line 2, byte 9: a comma or a closing bracket is missing, at character 8 of the line",
        ),
        (
            '\n{"é": 1}\r\n\r\n{"a": 1} {"a": 2}',
            Format.NDJSON,
            "line 4, byte 14: there is text after the end of the value",
        ),
        ('{"a": Infinity}', Format.NDJSON, "line 1, byte 0: Infinity is not a JSON number"),
        ("[1]", Format.NDJSON, "line 1, byte 0: the record is not an object; pass --format json for a JSON array"),
        ("[" * 100_000, Format.NDJSON, "line 1, byte 0: nested too deeply"),
        (b'[{"a": "\xff"}]', Format.JSON, "byte 8: 0xFF is not valid UTF-8.* iconv"),
        (b'{"a": 1}\n{"a": "\xe9"}', Format.NDJSON, "line 2, byte 16: 0xE9 is not valid UTF-8.* iconv"),
        ('{"a": 1}'.encode("utf-16"), Format.NDJSON, "UTF-16"),
        ("[]".encode("utf-16-be"), Format.JSON, "UTF-16"),
    ],
)
def test_broken_file_is_refused_with_the_place(text: str | bytes, format_: Format, problem: str) -> None:
    with pytest.raises(RecordFileError, match=problem):
        read(text, format_)


def test_records_know_their_places() -> None:
    assert [each.source for each in found('\ufeff{"a": 1}\n\n{"ü": 1}\n{}', Format.NDJSON)] == [
        "line 1, byte 3", "line 3, byte 13", "line 4, byte 23",
    ]  # fmt: skip
    assert [each.source for each in found("[{}, {}]")] == ["record 1 (index 0)", "record 2 (index 1)"]


@given(st.integers(1, 30), st.integers(0, 200))
def test_byte_that_is_not_utf_8_is_found_whatever_the_stretch(stretch: int, before: int) -> None:
    text = "[" + " " * before + '{"é": "' + "é" * (before % 7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_files, "STRETCH_CHARS", stretch)
        with pytest.raises(RecordFileError, match=f"byte {len(text.encode())}: 0xFF "):
            read(text.encode() + b'\xff"}]')


@pytest.mark.parametrize("format_", [Format.JSON, Format.NDJSON])
def test_large_file_is_read_in_bounded_memory(format_: Format) -> None:
    between = {Format.JSON: ",\n", Format.NDJSON: "\n"}[format_]
    body = between.join([json.dumps({"a": "x" * 1000})] * 20_000)
    file = io.BytesIO((f"[{body}]" if format_ is Format.JSON else body).encode())
    tracemalloc.start()
    try:
        assert sum(1 for _ in record_files.read(file, format_)) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_ids_come_from_a_field_or_are_made_or_are_the_number() -> None:
    records = rows({"id": "a", "n": 1}, {"id": 7, "n": 2})

    def ids(rule: IdRule) -> list[tuple[str, int | None]]:
        return [(each.record_id, each.position) for each in record_files.identified(records, rule)]

    assert ids(IdRule(field="id")) == [("a", None), ("7", None)]
    assert ids(IdRule(made_from=("n", "id"))) == [("1-a", None), ("2-7", None)]
    assert ids(IdRule()) == [("1", 1), ("2", 2)]


@pytest.mark.parametrize(
    ("value", "given"),
    [
        (None, "and is empty"),
        ("", "and is empty"),
        (True, "not true"),
        (["a"], "not an array"),
        ({}, "not an object"),
        (Decimal("1.0"), "not 1.0"),
    ],
)
def test_value_that_is_no_id_is_refused(value: object, given: str) -> None:
    problem = f"line 2, field id: must contain the id, a string or an integer, {given}$"
    with pytest.raises(RecordFileError, match=problem):
        list(record_files.identified(rows({"id": "a"}, {"id": value}), IdRule(field="id")))


def test_nothing_to_make_an_id_of_is_refused() -> None:
    with pytest.raises(RecordFileError, match="line 1: a, b are empty"):
        list(record_files.identified(rows({"a": None}), IdRule(made_from=("a", "b"))))


def test_reading_that_is_given_up_outlives_its_file() -> None:
    file = io.BytesIO(b'{"id": 1}\n{"id": 2}\n')
    records = record_files.read(file, Format.NDJSON)
    assert next(records).content == {"id": 1}
    file.close()
    records.close()  # type: ignore[attr-defined]
