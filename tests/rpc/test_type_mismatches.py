"""Declared fields and what they cannot hold: refused on every way to write, or else found and counted."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import draftline
import pytest
from draftline import DeclaredField, op

FIELDS = {"/day": "date", "/time": "timestamp", "/n": "number", "/t": "text", "/b": "boolean", "/o/day": "date"}
# A value that each field holds, and some that it does not, with their kinds.
FITTING = {
    "day": "2026-11-20",
    "time": "2026-11-20 10:00:00z",
    "n": 1.5,
    "t": "x",
    "b": True,
    "o": {"day": "Nov 20 2026"},
}
MISFITS: list[tuple[str, Any, str]] = [
    ("/day", "2026-11-20T10:00:00Z", "string"),
    ("/day", 20261120, "number"),
    ("/time", "2026-11-20T10:00:00", "string"),
    ("/time", "2026-11-20T24:00:00Z", "string"),
    ("/time", "2026-11-20T10:00:60Z", "string"),
    ("/n", "1", "string"),
    ("/n", 10**100, "number"),
    ("/t", 1, "number"),
    ("/t", ["x"], "array"),
    ("/b", "true", "string"),
    ("/b", {}, "object"),
    ("/o/day", "tomorrow", "string"),
]


@pytest.fixture
def client(patching_server: Any, tenant_id: str) -> Iterator[draftline.Client]:
    with draftline.Client(patching_server.address, tenant_id=tenant_id, user="ada") as connected:
        yield connected


@pytest.fixture
def films() -> str:
    """A collection whose name no other test declares."""
    return f"films {uuid.uuid4().hex[:8]}"


def declare(client: draftline.Client, films: str, on_type_mismatch: str) -> draftline.Collection:
    fields = [DeclaredField(path, kind, on_type_mismatch) for path, kind in FIELDS.items()]
    return client.put_collection(films, fields=fields)


def at(path: str, value: Any) -> dict[str, Any]:
    first, *rest = path[1:].split("/")
    return {first: {rest[0]: value} if rest else value}


def assert_refused(call: Callable[[], Any], path: str, kind: str) -> None:
    with pytest.raises(draftline.InvalidArgumentError) as caught:
        call()
    error = caught.value
    assert error.reason == "TYPE_MISMATCH"
    assert (error.metadata["path"], error.metadata["kind"]) == (path, kind)
    assert error.metadata["type"] == FIELDS[path].upper()
    assert path in str(error)


def test_write_of_what_a_field_refuses_is_refused(client: draftline.Client, films: str) -> None:
    declared = declare(client, films, "refuse")
    assert {field.on_type_mismatch for field in declared.fields} == {draftline.OnTypeMismatch.REFUSE}
    client.create_content(films, FITTING, record_id="1")
    for path, value, kind in MISFITS:
        bad = at(path, value)
        assert_refused(lambda bad=bad: client.create_content(films, bad, record_id="2"), path, kind)
        assert_refused(lambda bad=bad: client.patch_content(films, "1", bad), path, kind)
        step = op.add(path, value)
        assert_refused(lambda step=step: client.patch_content(films, "1", operations=[step]), path, kind)
    assert client.get_content(films, "1").version == 1
    client.patch_content(films, "1", dict.fromkeys(FITTING))
    client.patch_content(films, "1", operations=[op.remove("/day"), op.remove("/o")])


def test_no_way_to_write_stores_what_a_field_refuses(client: draftline.Client, films: str) -> None:
    client.put_collection(films, fields={"/day": "date"})
    bad, good = {"day": "2026-11-20T10:00:00Z"}, {"day": "2026-11-20"}
    client.create_content(films, bad, record_id="deleted")
    client.delete_content(films, "deleted")
    client.create_content(films, bad, record_id="changed")
    changed = client.patch_content(films, "changed", good).record
    client.save_draft(films, "drafted", create=bad)
    client.put_collection(films, fields=[DeclaredField("/day", "date", "refuse")])

    patches = [draftline.Patch("changed", {"x": 1}), draftline.Patch("new", bad, allow_missing=True)]
    for call in (
        lambda: client.batch_patch_content(films, patches),
        lambda: client.patch_content(films, "new", bad, allow_missing=True),
        lambda: client.import_content(films, [("a", good), ("b", bad)]),
        lambda: client.import_content(films, [("b", bad)], mode="snapshot"),
        lambda: client.save_draft(films, "changed", bad),
        lambda: client.save_draft(films, "new", create=bad),
        lambda: client.commit(films, all=True),  # of what was saved before the declaration
        lambda: client.undelete_content(films, "deleted"),
        lambda: client.revert(next(client.changes(films, "changed"))),
    ):
        assert_refused(call, "/day", "string")
    assert client.get_collection(films, include_mismatch_counts=True).mismatch_counts == {"/day": 0}
    assert [each.record_id for each in client.get_merged(films, filter="record.mistyped = true")] == ["drafted"]
    assert client.get_content(films, "changed").version == changed.version

    client.save_draft(films, "drafted", good)
    client.commit(films, all=True)
    with pytest.raises(draftline.NotFoundError):
        client.get_content(films, "new")


def test_refusing_what_is_stored_is_refused_with_how_many_and_which(client: draftline.Client, films: str) -> None:
    client.import_content(films, [("a", {"n": 1}), ("b", {"n": "1"}), ("c", {"n": []}), ("d", {}), ("e", {"n": None})])
    client.create_content(films, {"n": "x"}, record_id="gone")
    client.delete_content(films, "gone")
    with pytest.raises(draftline.FailedPreconditionError, match="2 records hold one, such as 'b'") as caught:
        client.put_collection(films, fields=[DeclaredField("/n", "number", "refuse")])
    assert (caught.value.metadata["path"], caught.value.metadata["count"]) == ("/n", "2")
    client.patch_content(films, "b", {"n": 1})
    client.patch_content(films, "c", {"n": 2})
    put = client.put_collection(films, fields=[DeclaredField("/n", "number", "refuse")])
    assert put.version == 1
    assert client.put_collection(films, fields={"/n": "number"}).version == 2
    client.patch_content(films, "b", {"n": "1"})


def test_accepted_mismatches_are_found_and_counted(client: draftline.Client, films: str) -> None:
    declare(client, films, "accept")
    rows = [(f"bad {place}", at(path, value)) for place, (path, value, _) in enumerate(MISFITS)]
    client.import_content(films, [*rows, ("good", FITTING), ("empty", {}), ("null", dict.fromkeys(FITTING))])
    counted = client.get_collection(films, include_mismatch_counts=True)
    expected = {path: sum(each[0] == path for each in MISFITS) for path in FIELDS}
    assert counted.mismatch_counts == expected
    assert client.get_collection(films).mismatch_counts is None

    def ids(text: str) -> set[str]:
        return {each.record_id for each in client.get_merged(films, filter=text)}

    bad = {record_id for record_id, _ in rows}
    assert ids("record.mistyped = true") == ids("NOT record.mistyped = false") == bad
    assert ids("record.mistyped != true") == ids("-record.mistyped:true") == {"good", "empty", "null"}
    client.save_draft(films, "good", {"n": "one"})
    client.save_draft(films, "bad 0", {"day": "2026-11-20"})
    assert ids("record.mistyped = true") == (bad - {"bad 0"}) | {"good"}
    client.patch_content(films, "bad 1", {"day": None}, condition="record.mistyped = true")
    with pytest.raises(draftline.ConditionNotMetError):
        client.patch_content(films, "bad 1", {"day": None}, condition="record.mistyped = true")
    with pytest.raises(draftline.InvalidArgumentError, match="a list cannot be sorted by it"):
        list(client.get_merged(films, order_by="record.mistyped"))


def test_conditions_of_patches_follow_the_rules_of_lists(client: draftline.Client, films: str) -> None:
    content = {"items": [{"sku": "x"}, {"sku": "y", "tags": ["Blue"]}], "o": {"0": "zero"}}
    client.create_content(films, content, record_id="1")
    for text in (
        'items.sku:"y"', 'items.sku:"*y"', 'lower(items.tags):"BLUE"', 'o."0" = zero', 'NOT items."0".sku:x',
        'items.tags:"B*"', 'NOT items.sku = "y"', "items.sku:*", 'lower(o."0") = "*ER*"',
    ):  # fmt: skip
        client.patch_content(films, "1", {}, condition=text)
        assert [each.record_id for each in client.get_merged(films, filter=text)] == ["1"], text
        opposite = f"NOT ({text})"
        assert not list(client.get_merged(films, filter=opposite)), opposite
        with pytest.raises(draftline.ConditionNotMetError):
            client.patch_content(films, "1", {}, condition=opposite)
    with pytest.raises(draftline.InvalidFilterError, match="AIP-160") as caught:
        client.patch_content(films, "1", {}, condition="items.0.sku:x")
    assert caught.value.position == 6


def test_log_is_filtered_by_parts_of_texts_in_any_case(client: draftline.Client, films: str) -> None:
    client.create_content(films, {}, record_id="1", change_reason="Release 2.0, at LAST")
    client.create_content(films, {}, record_id="2", change_reason="100%")

    def ids(text: str) -> list[str]:
        return [each.record_id for each in client.changes(films, filter=text)]

    assert ids('change_reason = "*2.0*"') == ids('lower(change_reason) = "*at last"') == ["1"]
    assert ids('change_reason:"*%"') == ids('NOT lower(change_reason) = "release*"') == ["2"]
    with pytest.raises(draftline.InvalidFilterError, match="kind"):
        ids("lower(kind) = create")


def test_declaration_tells_json_what_it_refuses(client: draftline.Client, films: str) -> None:
    put = client.put_collection(films, fields=[DeclaredField("/a", "date", "refuse"), DeclaredField("/b", "text")])
    told = {field.path: field.on_type_mismatch.value for field in client.get_collection(films).fields}
    assert told == {field.path: field.on_type_mismatch.value for field in put.fields}
    assert json.dumps(told) == '{"/a": "refuse", "/b": "accept"}'
