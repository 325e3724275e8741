"""Both clients against the live service."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any

import draftline
import pytest
from draftline import ImportRecord, Patch, SortKey, op

FILM = {
    "Title": "Alien",
    "Major Genre": None,
    "Gross": 123456789012345678901234567890,
    "Rating": 8.5,
    "Exact": Decimal("0.1234567890123456789012345678901234567890"),
    "Cast": [{"name": "Sigourney Weaver", "roles": ["Ripley"]}],
    "Текст": 'naïve ☃ 🎬 \t\n"\\',
}


async def test_created_content_is_read_back_exactly(client: Any) -> None:
    created = await client.create_content("movies", FILM, record_id="m-1", parent_id="p", position=-3)
    assert created.content == FILM
    assert (created.collection, created.record_id, created.version) == ("movies", "m-1", 1)
    assert (created.parent_id, created.position, created.delete_time) == ("p", -3, None)
    assert (created.created_by, created.updated_by) == ("ada", "ada")
    assert created.create_time.tzinfo is UTC
    assert abs(created.update_time - created.create_time) < timedelta(seconds=1)
    assert await client.get_content("movies", "m-1") == created


async def test_created_content_without_an_id_gets_one(client: Any) -> None:
    first = await client.create_content("movies", {})
    second = await client.create_content("movies", {})
    assert first.record_id != second.record_id
    assert (first.content, first.parent_id, first.position) == ({}, None, None)


async def test_create_of_a_taken_id_already_exists(client: Any) -> None:
    await client.create_content("movies", {}, record_id="m-1")
    with pytest.raises(draftline.AlreadyExistsError) as caught:
        await client.create_content("movies", {}, record_id="m-1")
    assert caught.value.reason == "RECORD_EXISTS"


async def test_create_with_a_long_id_names_the_field(client: Any) -> None:
    with pytest.raises(draftline.InvalidArgumentError) as caught:
        await client.create_content("movies", {}, record_id="x" * 129)
    assert [each.field for each in caught.value.field_violations] == ["record_id"]


async def test_validate_only_writes_nothing(client: Any) -> None:
    assert (await client.create_content("movies", {"a": 1}, record_id="m-1", validate_only=True)).version == 1
    with pytest.raises(draftline.NotFoundError):
        await client.get_content("movies", "m-1")


async def test_get_returns_the_requested_fields(client: Any) -> None:
    await client.create_content("movies", FILM, record_id="m-1")
    assert (await client.get_content("movies", "m-1", fields=["Title", "None such"])).content == {"Title": "Alien"}


async def test_get_of_an_unknown_record_is_not_found(client: Any) -> None:
    with pytest.raises(draftline.NotFoundError) as caught:
        await client.get_content("movies", "none")
    assert caught.value.reason == "RECORD_NOT_FOUND"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"a": {"x": None}, "b": 1}),
        ({"strategy": "shallow"}, {"a": {"x": None}, "b": 1}),
        ({"strategy": "deep"}, {"a": {"x": None, "y": 2}, "b": 1}),
        ({"strategy": "deep", "depth": 1}, {"a": {"x": None}, "b": 1}),
        ({"strategy": draftline.MergeStrategy.MERGE_PATCH}, {"a": {"y": 2}, "b": 1}),
        ({"strategy": "replace"}, {"a": {"x": None}}),
    ],
)
async def test_patch_merges_by_its_strategy(client: Any, options: dict[str, Any], expected: Any) -> None:
    await client.create_content("movies", {"a": {"x": 1, "y": 2}, "b": 1}, record_id="m-1")
    result = await client.patch_content("movies", "m-1", {"a": {"x": None}}, **options)
    assert result.record.content == expected
    assert result.record.version == 2
    assert result.changed_fields == (("a", "b") if options.get("strategy") == "replace" else ("a",))


async def test_patch_that_changes_nothing_keeps_the_version(client: Any) -> None:
    created = await client.create_content("movies", {"a": 1}, record_id="m-1")
    result = await client.patch_content("movies", "m-1", {"a": 1})
    assert result.record == created
    assert result.changed_fields == ()


async def test_patch_applies_operations_in_order(client: Any) -> None:
    await client.create_content("movies", {"n": 1, "tags": ["a"], "old": True}, record_id="m-1")
    operations = [
        op.test("/n", 1),
        op.increment("/n", Decimal("0.1234567890123456789")),
        op.union("/tags", ["a", "b"]),
        {"op": "move", "from": "/old", "path": "/new"},
        op.add(op.pointer("a/b"), None),
    ]
    result = await client.patch_content("movies", "m-1", operations=operations)
    assert result.record.content == {
        "n": Decimal("1.1234567890123456789"),
        "tags": ["a", "b"],
        "new": True,
        "a/b": None,
    }


async def test_patch_with_a_failing_test_operation_changes_nothing(client: Any) -> None:
    created = await client.create_content("movies", {"n": 1}, record_id="m-1")
    with pytest.raises(draftline.OperationTestFailedError) as caught:
        await client.patch_content("movies", "m-1", operations=[op.increment("/n"), op.test("/n", 1)])
    assert (caught.value.operation, caught.value.path) == (1, "/n")
    assert await client.get_content("movies", "m-1") == created


async def test_patch_of_a_path_that_does_not_resolve_is_invalid(client: Any) -> None:
    await client.create_content("movies", {}, record_id="m-1")
    with pytest.raises(draftline.InvalidArgumentError) as caught:
        await client.patch_content("movies", "m-1", operations=[op.remove("/none")])
    assert (caught.value.reason, caught.value.metadata["path"]) == ("INVALID_OPERATION", "/none")


async def test_patch_of_a_stale_version_has_the_current_one(client: Any) -> None:
    await client.create_content("movies", {"a": 1}, record_id="m-1")
    await client.patch_content("movies", "m-1", {"a": 2}, expected_version=1)
    with pytest.raises(draftline.VersionMismatchError) as caught:
        await client.patch_content("movies", "m-1", {"a": 3}, expected_version=1)
    assert caught.value.current_version == 2


async def test_patch_with_an_unmet_condition_changes_nothing(client: Any) -> None:
    await client.create_content("movies", {"owner": "bob"}, record_id="m-1")
    with pytest.raises(draftline.ConditionNotMetError):
        await client.patch_content("movies", "m-1", {"owner": "ada"}, condition='owner = "ada"')
    met = await client.patch_content("movies", "m-1", {"owner": "ada"}, condition='owner = "bob"')
    assert met.record.content == {"owner": "ada"}


async def test_patch_of_a_missing_record_creates_it_if_allowed(client: Any) -> None:
    with pytest.raises(draftline.NotFoundError):
        await client.patch_content("movies", "m-1", {"a": 1})
    result = await client.patch_content("movies", "m-1", {"a": 1}, allow_missing=True)
    assert (result.record.content, result.record.version) == ({"a": 1}, 1)


async def test_patch_sets_and_removes_the_parent(client: Any) -> None:
    await client.create_content("movies", {"a": 1}, record_id="m-1", parent_id="p", position=1)
    moved = (await client.patch_content("movies", "m-1", position=2)).record
    assert (moved.parent_id, moved.position, moved.content) == ("p", 2, {"a": 1})
    orphaned = (await client.patch_content("movies", "m-1", {}, parent_id=None)).record
    assert (orphaned.parent_id, orphaned.position) == (None, 2)


async def test_batch_is_all_or_nothing(client: Any) -> None:
    created = await client.create_content("movies", {"a": 1}, record_id="m-1")
    with pytest.raises(draftline.NotFoundError):
        await client.batch_patch_content("movies", [Patch("m-1", {"a": 2}), Patch("none", {"a": 2})])
    assert await client.get_content("movies", "m-1") == created


async def test_batch_with_allow_partial_reports_the_failures(client: Any) -> None:
    await client.create_content("movies", {"a": 1}, record_id="m-1")
    patches = [
        Patch("none", {"a": 2}),
        Patch("m-1", operations=[op.increment("/a")], expected_version=1),
        Patch("a-1", {"b": 1}, collection="actors", allow_missing=True),
    ]
    missing, patched, created = await client.batch_patch_content("movies", patches, allow_partial=True)
    assert isinstance(missing.error, draftline.NotFoundError)
    assert missing.error.reason == "RECORD_NOT_FOUND"
    assert (patched.unwrap().record.content, patched.unwrap().changed_fields) == ({"a": 2}, ("a",))
    assert created.unwrap().record.collection == "actors"


async def test_deleted_content_is_hidden_until_it_is_restored(client: Any) -> None:
    await client.create_content("movies", {"a": 1}, record_id="m-1")
    deleted = await client.delete_content("movies", "m-1", expected_version=1)
    assert deleted.delete_time is not None
    with pytest.raises(draftline.NotFoundError) as caught:
        await client.get_content("movies", "m-1")
    assert caught.value.reason == "RECORD_DELETED"
    assert (await client.get_content("movies", "m-1", show_deleted=True)) == deleted
    restored = await client.undelete_content("movies", "m-1")
    assert (restored.delete_time, restored.content) == (None, {"a": 1})


async def test_delete_of_a_missing_record_is_allowed_on_request(client: Any) -> None:
    with pytest.raises(draftline.NotFoundError):
        await client.delete_content("movies", "none")
    assert await client.delete_content("movies", "none", allow_missing=True) is None


async def test_undelete_of_a_live_record_already_exists(client: Any) -> None:
    await client.create_content("movies", {}, record_id="m-1")
    with pytest.raises(draftline.AlreadyExistsError) as caught:
        await client.undelete_content("movies", "m-1")
    assert caught.value.reason == "RECORD_NOT_DELETED"


def counts(result: draftline.ImportResult) -> tuple[int, ...]:
    return (result.inserted_count, result.updated_count, result.unchanged_count, result.deleted_count)


async def test_import_counts_its_effects(client: Any) -> None:
    records: list[tuple[str, dict[str, Any]]] = [(str(number), {"n": number}) for number in range(1_234)]
    assert counts(await client.import_content("movies", iter(records))) == (1_234, 0, 0, 0)
    records[0] = ("0", {"n": "changed"})
    assert counts(await client.import_content("movies", records)) == (0, 1, 1_233, 0)
    kept = [ImportRecord("0", {"n": "changed"}), ImportRecord("new", FILM, parent_id="p", position=7)]
    assert counts(await client.import_content("movies", kept, mode="snapshot")) == (1, 0, 1, 1_233)
    new = await client.get_content("movies", "new")
    assert (new.content, new.parent_id, new.position) == (FILM, "p", 7)


async def test_import_of_records_that_raise_leaves_nothing(client: Any) -> None:
    def records() -> Iterator[tuple[str, dict[str, Any]]]:
        for number in range(3_000):
            yield str(number), {}
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        await client.import_content("movies", records())
    with pytest.raises(draftline.NotFoundError):
        await client.get_content("movies", "0")


async def test_import_with_a_record_twice_is_refused(client: Any) -> None:
    with pytest.raises(draftline.InvalidArgumentError) as caught:
        await client.import_content("movies", [("1", {}), ("1", {})])
    assert (caught.value.reason, caught.value.metadata["record_id"]) == ("DUPLICATE_RECORD", "1")


async def test_import_of_an_empty_snapshot_requires_allow_empty(client: Any) -> None:
    await client.import_content("movies", [("1", {})])
    with pytest.raises(draftline.FailedPreconditionError) as caught:
        await client.import_content("movies", [], mode="snapshot")
    assert caught.value.reason == "EMPTY_SNAPSHOT"
    result = await client.import_content("movies", [], mode="snapshot", allow_empty=True)
    assert result.deleted_count == 1


async def test_collection_spec_is_stored_and_returned(client: Any) -> None:
    put = await client.put_collection(
        "movies",
        fields={"/Title": "text", "/Rating": draftline.FieldType.NUMBER},
        orders=[[SortKey("/Rating", descending=True), "/Title"]],
        json_schema={"type": "object", "required": ["Title"]},
        expected_version=0,
    )
    assert (put.collection, put.version) == ("movies", 1)
    assert [(each.path, each.type) for each in put.fields] == [("/Title", "text"), ("/Rating", "number")]
    assert put.orders == (draftline.DeclaredOrder((SortKey("/Rating", descending=True), SortKey("/Title"))),)
    assert put.json_schema == {"type": "object", "required": ["Title"]}
    assert {each.state for each in put.indexes} == {draftline.IndexState.READY}
    assert put.create_time is not None
    assert await client.get_collection("movies") == put
    with pytest.raises(draftline.InvalidArgumentError) as caught:
        await client.create_content("movies", {"Rating": 1})
    assert caught.value.reason == "SCHEMA_VIOLATION"


async def test_collection_of_a_stale_version_is_refused(client: Any) -> None:
    await client.put_collection("movies", fields={"/Title": "text"})
    with pytest.raises(draftline.VersionMismatchError):
        await client.put_collection("movies", expected_version=0)


async def test_collection_without_a_spec_is_not_found(client: Any) -> None:
    with pytest.raises(draftline.NotFoundError) as caught:
        await client.get_collection("movies")
    assert caught.value.reason == "COLLECTION_NOT_FOUND"


async def test_collections_are_listed_over_pages_with_or_without_a_spec(client: Any) -> None:
    for name in ("c", "a", "d"):
        await client.put_collection(name, fields={"/Title": "text"})
    await client.create_content("b", {})
    listed = [each async for each in client.list_collections(page_size=2)]
    assert [(each.collection, each.version) for each in listed] == [("a", 1), ("b", 0), ("c", 1), ("d", 1)]
    assert listed[1].create_time is None


async def test_data_of_other_tenants_is_not_found(client: Any) -> None:
    await client.create_content("movies", {}, record_id="m-1")
    with pytest.raises((draftline.NotFoundError, draftline.PermissionDeniedError)):
        await client.get_content("movies", "m-1", tenant_id="somebody-else")
