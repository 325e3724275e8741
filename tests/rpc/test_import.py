"""Imports: what is created, replaced, kept and deleted, and what is refused as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from draftline.v1 import collection_pb2, content_pb2
from support.responses import INVALID, TIMEOUT_S, Records, content_of, document, refused

SNAPSHOT = content_pb2.IMPORT_MODE_SNAPSHOT
Rows = dict[str, Any]
Part = content_pb2.ImportContentRequest


def header(records: Records, **options: Any) -> Part:
    return Part(header=content_pb2.ImportHeader(tenant_id=records.tenant_id, collection=records.collection, **options))


def chunk(rows: Rows) -> Part:
    return Part(
        chunk=content_pb2.ImportChunk(
            records=[content_pb2.ImportRecord(record_id=name, content=document(row)) for name, row in rows.items()]
        )
    )


def end(count: int) -> Part:
    return Part(end=content_pb2.ImportEnd(record_count=count))


def stream(records: Records, *chunks: Rows, **options: Any) -> Iterator[Part]:
    yield header(records, **options)
    yield from map(chunk, chunks)
    yield end(sum(map(len, chunks)))


def loaded(records: Records, *chunks: Rows, **options: Any) -> tuple[int, int, int, int]:
    """(inserted, updated, unchanged, deleted)"""
    answer = records.stub.ImportContent(stream(records, *chunks, **options), timeout=TIMEOUT_S)
    return answer.inserted_count, answer.updated_count, answer.unchanged_count, answer.deleted_count


def versions(sql: Any, url: str, records: Records) -> dict[str, tuple[int, str, bool]]:
    """Return the version of each record, the location and writer of its row, and whether it is deleted."""
    query = """SELECT record_id, version, ctid::text || ' ' || xmin::text AS written, deleted_at IS NOT NULL AS deleted
        FROM draftline.record WHERE tenant_id = $1 AND collection = $2 ORDER BY record_id"""
    rows = sql(url, query, records.tenant_id, records.collection)
    return {row["record_id"]: (row["version"], row["written"], row["deleted"]) for row in rows}


def test_upsert_counts_what_it_created_changed_and_left_alone(records: Records, server: Any, sql: Any) -> None:
    assert loaded(records, {"a": {"n": 1}, "b": {"n": 1}}, {"c": {"n": 1}}) == (3, 0, 0, 0)
    before = versions(sql, server.url, records)
    assert loaded(records, {"a": {"n": 1.0}, "b": {"n": 2}}, {"d": {"n": 1}}) == (1, 1, 1, 0)
    after = versions(sql, server.url, records)
    assert after["a"] == before["a"]
    assert after["c"] == before["c"]
    assert {name: row[0] for name, row in after.items()} == {"a": 1, "b": 2, "c": 1, "d": 1}
    assert [records.content(name)["n"] for name in "abcd"] == [1, 2, 1, 1]


def test_snapshot_deletes_what_it_does_not_hold(records: Records, server: Any, sql: Any) -> None:
    other = Records(records.stub, records.tenant_id, "books")
    neighbour = Records(records.stub, f"{records.tenant_id}x")
    loaded(records, {name: {"n": 1} for name in "abcd"})
    for elsewhere in (other, neighbour):
        loaded(elsewhere, {"a": {"n": 1}, "z": {"n": 1}})
    before = versions(sql, server.url, records)
    assert loaded(records, {"a": {"n": 1}, "b": {"n": 2}, "e": {"n": 1}}, mode=SNAPSHOT) == (1, 1, 1, 2)
    after = versions(sql, server.url, records)
    assert after["a"] == before["a"]
    assert {name: (row[0], row[2]) for name, row in after.items()} == {
        "a": (1, False), "b": (2, False), "c": (2, True), "d": (2, True), "e": (1, False)
    }  # fmt: skip
    assert records.get("c", show_deleted=True).HasField("delete_time")
    assert loaded(records, {"a": {"n": 1}, "b": {"n": 2}, "e": {"n": 1}}, mode=SNAPSHOT) == (0, 0, 3, 0)
    assert [elsewhere.content("z") for elsewhere in (other, neighbour)] == [{"n": 1}, {"n": 1}]


@pytest.mark.parametrize("mode", [content_pb2.IMPORT_MODE_UPSERT, SNAPSHOT])
def test_import_revives_deleted_records(records: Records, mode: int) -> None:
    created = records.create("a", {"n": 1})
    records.delete("a")
    assert loaded(records, {"a": {"n": 1}}, mode=mode) == (0, 1, 0, 0)
    record = records.get("a")
    assert (record.version, content_of(record), record.HasField("delete_time")) == (3, {"n": 1}, False)
    assert record.create_time == created.create_time


def test_import_replaces_parent_and_position(records: Records) -> None:
    records.create("a", {"n": 1}, parent_id="p", position=1)
    row = content_pb2.ImportRecord(record_id="a", content=document({"n": 1}), parent_id="q", position=-2)
    parts = [header(records), Part(chunk=content_pb2.ImportChunk(records=[row])), end(1)]
    assert records.stub.ImportContent(iter(parts), timeout=TIMEOUT_S).updated_count == 1
    assert (records.get("a").parent_id, records.get("a").position) == ("q", -2)
    assert loaded(records, {"a": {"n": 1}}) == (0, 1, 0, 0)
    record = records.get("a")
    assert (record.HasField("parent_id"), record.HasField("position"), record.version) == (False, False, 3)


def test_import_takes_the_user_from_the_metadata(records: Records) -> None:
    metadata = (("x-draftline-user", "loader"),)
    records.stub.ImportContent(stream(records, {"a": {}}), metadata=metadata, timeout=TIMEOUT_S)
    assert (records.get("a").created_by, records.get("a").updated_by) == ("loader", "loader")
    with pytest.raises(grpc.RpcError) as caught:
        records.stub.ImportContent(stream(records, {"b": {}}), metadata=(("x-draftline-user", ""),), timeout=TIMEOUT_S)
    assert caught.value.code() is INVALID
    assert records.is_missing("b")


def test_imported_documents_are_exact(records: Records) -> None:
    text = '{"i": 123456789012345678901234567890, "t": "\\ud83c\\udfac \\t \\\\ \\" 𐀀", "d": 1.50, "n": null, "": {}}'
    loaded(records, {"a": text})
    records.create("b", text)
    assert records.get("a").content == records.get("b").content


def test_id_that_stands_twice_in_a_stream_is_refused(records: Records) -> None:
    records.create("kept", {})
    for chunks in ([{"a": {}, "b": {}}, {"c": {}, "a": {}}], [{"a": {"n": 1}}, {"a": {"n": 1}}]):
        refusal = refused(records.stub.ImportContent, stream(records, *chunks, mode=SNAPSHOT))
        assert (refusal.code, refusal.reason) == (INVALID, "DUPLICATE_RECORD")
        assert refusal.metadata["record_id"] == "a"
    assert records.is_missing("a")
    assert records.content("kept") == {}


def test_snapshot_without_a_record_is_refused_unless_meant(records: Records) -> None:
    records.create("a", {})
    refusal = refused(records.stub.ImportContent, stream(records, mode=SNAPSHOT))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "EMPTY_SNAPSHOT")
    assert records.content("a") == {}
    assert loaded(records) == (0, 0, 0, 0)
    assert loaded(records, mode=SNAPSHOT, allow_empty=True) == (0, 0, 0, 1)
    assert records.get("a", show_deleted=True).HasField("delete_time")


def _broken_streams(records: Records) -> dict[str, tuple[list[Part], str]]:
    first, rows = header(records, mode=SNAPSHOT), chunk({"a": {"n": 2}, "b": {}})
    return {
        "nothing": ([], "header"),
        "no header": ([rows, end(2)], "header"),
        "end alone": ([end(0)], "header"),
        "two headers": ([first, rows, first, end(2)], "header"),
        "header last": ([first, rows, header(records)], "header"),
        "no end": ([first, rows], "end"),
        "header alone": ([first], "end"),
        "more than arrived": ([first, rows, end(3)], "end.record_count"),
        "fewer than arrived": ([first, rows, end(1)], "end.record_count"),
        "chunk after the end": ([first, rows, end(2), chunk({"c": {}})], "end"),
        "two ends": ([first, rows, end(2), end(2)], "end"),
        "no part": ([first, Part(), end(0)], "part"),
        "empty chunk": ([first, chunk({}), end(0)], "chunk.records"),
        "no tenant": ([Part(header=content_pb2.ImportHeader(collection="films"))], "header.tenant_id"),
        "bad id": ([first, chunk({"a": {}, "": {}}), end(2)], "records[1].record_id"),
        "no content": (
            [first, Part(chunk=content_pb2.ImportChunk(records=[content_pb2.ImportRecord(record_id="a")])), end(1)],
            "records[0].content",
        ),
    }


BROKEN = [*_broken_streams(Records(None, "any"))]


@pytest.mark.parametrize("name", BROKEN)
def test_stream_that_breaks_the_rules_is_refused(records: Records, name: str) -> None:
    records.create("a", {"n": 1})
    records.create("z", {"n": 1})
    parts, field = _broken_streams(records)[name]
    refusal = refused(records.stub.ImportContent, iter(parts))
    assert (refusal.code, refusal.reason, [*refusal.fields]) == (INVALID, "INVALID_FIELD", [field])
    assert [records.content(each) for each in "az"] == [{"n": 1}, {"n": 1}]
    assert records.is_missing("b")


def test_chunk_over_10000_records_is_refused(records: Records) -> None:
    refusal = refused(records.stub.ImportContent, stream(records, {f"m-{n}": "{}" for n in range(10_001)}))
    assert "10000" in refusal.fields["chunk.records"]
    assert records.is_missing("m-0")


def test_bad_record_in_the_middle_leaves_nothing(records: Records) -> None:
    records.create("a", {"n": 1})
    rows = [{f"m-{c}-{n}": {"n": n} for n in range(500)} for c in range(4)]
    rows[2]["m-2-250"] = '{"n": "\\u0000"}'
    refusal = refused(records.stub.ImportContent, stream(records, {"a": {"n": 2}}, *rows))
    assert (refusal.code, refusal.reason) == (INVALID, "INVALID_DOCUMENT")
    assert [*refusal.fields] == ["records[1251].content.json"]
    assert refusal.message == "records[1251].content.json: text must not hold U+0000"
    assert refusal.metadata == {"record_index": "1251", "record_id": "m-2-250", "path": "/n"}
    assert records.content("a") == {"n": 1}
    assert records.is_missing("m-0-0")


def rows_from(contents: dict[str, Any], place: int) -> Part:
    """A chunk whose records say that they are of lines, from this one on."""
    rows = [
        content_pb2.ImportRecord(record_id=name, content=document(content), source=f"line {number}")
        for number, (name, content) in enumerate(contents.items(), place)
    ]
    return Part(chunk=content_pb2.ImportChunk(records=rows))


@pytest.mark.parametrize(
    ("name", "content", "reason", "path", "told"),
    [
        ("i" * 129, "{}", "INVALID_FIELD", None, "line 5: record_id: "),
        ("bad", '{"a": [1, "\\u0000"]}', "INVALID_DOCUMENT", "/a/1", "line 5: content.json: text must not hold U+0000"),
        ("bad", '{"a/~": 1e9999}', "INVALID_DOCUMENT", "/a~1~0", "line 5: content.json: numbers must have at most"),
        ("bad", "[]", "INVALID_DOCUMENT", None, "line 5: content: must be a JSON object"),
        ("bad", '{"n": 11}', "SCHEMA_VIOLATION", "/n", "line 5: record 'bad': breaks "),
        ("bad", f'{{"t": "{"x" * 801}"}}', "INDEXED_TEXT_TOO_LONG", "/t", "line 5: record 'bad': the text at /t "),
        ("r-2", "{}", "DUPLICATE_RECORD", None,
         "line 5: record 'r-2' appears twice in the import, first at line 2"),
    ],
)  # fmt: skip
def test_error_names_the_record_by_its_place_in_the_whole_stream(
    records: Records, collection_stub: Any, name: str, content: str, reason: str, path: str | None, told: str
) -> None:
    put = collection_pb2.PutCollectionRequest(
        tenant_id=records.tenant_id, collection="films", json_schema='{"properties": {"n": {"maximum": 10}}}'
    )
    put.fields.add(path="/t", type=collection_pb2.FIELD_TYPE_TEXT)
    collection_stub.PutCollection(put, timeout=TIMEOUT_S)
    good = {f"r-{number}": {"n": 1} for number in range(1, 4)}
    parts = [header(records), rows_from(good, 1), rows_from({"r-4": {}, name: content, "r-6": {}}, 4), end(6)]
    refusal = refused(records.stub.ImportContent, iter(parts))
    assert (refusal.code, refusal.reason) == (INVALID, reason)
    assert refusal.message.startswith(told)
    assert refusal.metadata.get("path") == path
    where = {key: refusal.metadata[key] for key in ("record_index", "record_id", "source")}
    assert where == {"record_index": "4", "record_id": name, "source": "line 5"}
    assert all(field.startswith("records[4].") for field in refusal.fields)
    assert records.is_missing("r-1")


def test_first_duplicate_of_the_stream_is_named(records: Records) -> None:
    chunks = [{"z": {}, "b": {}}, {"b": {}, "a": {}}, {"a": {}, "z": {}}]
    refusal = refused(records.stub.ImportContent, stream(records, *chunks))
    assert refusal.message == "records[2]: record 'b' appears twice in the import, first at records[1]"
    assert refusal.metadata == {"record_index": "2", "record_id": "b", "first_index": "1"}


def test_record_that_breaks_the_schema_leaves_nothing(records: Records, collection_stub: Any) -> None:
    put = collection_pb2.PutCollectionRequest(
        tenant_id=records.tenant_id, collection="films", json_schema='{"properties": {"n": {"maximum": 1e400}}}'
    )
    collection_stub.PutCollection(put, timeout=TIMEOUT_S)
    assert loaded(records, {"a": {"n": 1}, "b": '{"n": 1e400}'}) == (2, 0, 0, 0)
    refusal = refused(records.stub.ImportContent, stream(records, {"a": {"n": 2}}, {"c": '{"n": 1e401}'}))
    assert (refusal.code, refusal.reason, refusal.metadata["path"]) == (INVALID, "SCHEMA_VIOLATION", "/n")
    assert "'c'" in refusal.message
    assert records.content("a") == {"n": 1}
    assert records.is_missing("c")


def test_overlong_indexed_text_leaves_nothing(records: Records, collection_stub: Any) -> None:
    put = collection_pb2.PutCollectionRequest(tenant_id=records.tenant_id, collection="films")
    put.fields.add(path="/in/t", type=collection_pb2.FIELD_TYPE_TEXT)
    collection_stub.PutCollection(put, timeout=TIMEOUT_S)
    assert loaded(records, {"a": {"in": {"t": "ü" * 400}}, "b": {"in": {"t": ["x" * 900]}}}) == (2, 0, 0, 0)
    refusal = refused(records.stub.ImportContent, stream(records, {"c": {}}, {"d": {"in": {"t": "ü" * 401}}}))
    assert (refusal.code, refusal.reason) == (INVALID, "INDEXED_TEXT_TOO_LONG")
    assert (refusal.metadata["path"], refusal.metadata["limit"]) == ("/in/t", "800")
    assert "'d'" in refusal.message
    assert records.is_missing("c")
