"""SaveDraft: what drafts are made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from draftline.v1 import draft_pb2, types_pb2
from support.draft_calls import Drafts, edit
from support.responses import Records, content_of, nested, refusal_in, steps

SHALLOW = types_pb2.MERGE_STRATEGY_SHALLOW
DEEP = types_pb2.MERGE_STRATEGY_DEEP
MERGE_PATCH = types_pb2.MERGE_STRATEGY_MERGE_PATCH
REPLACE = types_pb2.MERGE_STRATEGY_REPLACE

CONTENT = {"a": {"x": 1, "y": {"z": 1}}, "b": [1, 2], "c": None}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"a": {"y": {"w": None}}, "b": [1, 2], "c": None}),
        ({"strategy": SHALLOW}, {"a": {"y": {"w": None}}, "b": [1, 2], "c": None}),
        ({"strategy": DEEP}, {"a": {"x": 1, "y": {"z": 1, "w": None}}, "b": [1, 2], "c": None}),
        ({"strategy": DEEP, "depth": 2}, {"a": {"x": 1, "y": {"w": None}}, "b": [1, 2], "c": None}),
        ({"strategy": MERGE_PATCH}, {"a": {"x": 1, "y": {"z": 1}}, "b": [1, 2], "c": None}),
        ({"strategy": REPLACE}, {"a": {"y": {"w": None}}}),
    ],
)
def test_delta_is_merged_by_its_strategy_and_so_committed(
    records: Records, ada: Drafts, options: dict[str, Any], expected: Any
) -> None:
    records.create("m-1", CONTENT)
    merged = ada.change("m-1", {"a": {"y": {"w": None}}}, **options)
    assert content_of(merged.record) == expected
    assert records.content("m-1") == CONTENT
    ada.commit()
    assert records.content("m-1") == expected


def test_draft_tells_its_kind_version_time_user_session_and_reason(records: Records, ada: Drafts) -> None:
    created = records.create("m-1", {"a": 1, "b": 1, "Z": 1}, parent_id="p", position=7)
    before = datetime.now(UTC) - timedelta(minutes=1)
    merged = ada.change("m-1", {"b": 2, "Z": 2, "a": 1}, session_id="s", change_reason="w\nhy")
    assert (merged.state, merged.draft_kind) == (draft_pb2.RECORD_STATE_DRAFT, draft_pb2.DRAFT_KIND_CHANGE)
    assert (merged.draft_version, list(merged.modified_fields)) == (1, ["Z", "b"])
    assert (merged.modified_by, merged.session_id, merged.change_reason) == ("ada", "s", "w\nhy")
    assert before < merged.modify_time.ToDatetime(UTC) < before + timedelta(minutes=10)
    for field in ("version", "parent_id", "position", "create_time", "created_by", "update_time", "updated_by"):
        assert getattr(merged.record, field) == getattr(created, field)
    assert list(merged.conflicts) == []
    assert ada.one("m-1") == merged


def test_saving_again_composes_and_gives_the_new_reason_and_the_session_that_it_moves_to(
    records: Records, ada: Drafts
) -> None:
    records.create("m-1", CONTENT)
    ada.change("m-1", {"a": {"x": None, "y": 2}}, strategy=MERGE_PATCH, session_id="one", change_reason="first")
    again = {"strategy": DEEP, "expected_draft_version": 1, "session_id": "two", "move_to_session": True}
    merged = ada.change("m-1", {"a": {"n": {}}}, **again)
    assert content_of(merged.record) == {**CONTENT, "a": {"y": 2, "n": {}}}
    assert (merged.draft_version, merged.session_id, merged.change_reason) == (2, "two", "")


def test_replacing_save_forgets_what_was_drafted(records: Records, ada: Drafts) -> None:
    records.create("m-1", CONTENT)
    ada.change("m-1", delete=True)
    merged = ada.change("m-1", {"d": 1}, replace=True, expected_draft_version=1)
    assert (content_of(merged.record), merged.draft_version) == ({**CONTENT, "d": 1}, 2)
    assert (merged.draft_kind, list(merged.modified_fields)) == (draft_pb2.DRAFT_KIND_CHANGE, ["d"])


def test_operations_apply_to_what_the_caller_sees(records: Records, ada: Drafts) -> None:
    records.create("m-1", {"n": 1, "tags": ["a"], "old": True})
    ada.change("m-1", {"n": 10})
    merged = ada.change(
        "m-1",
        operations=steps(
            {"op": "increment", "path": "/n", "value": 1},
            {"op": "union", "path": "/tags", "value": ["a", "b"]},
            {"op": "subtract", "path": "/tags", "value": ["a"]},
            {"op": "move", "from": "/old", "path": "/new"},
            {"op": "copy", "from": "/n", "path": "/m"},
            {"op": "add", "path": "/tags/0", "value": None},
            {"op": "replace", "path": "/m", "value": {}},
            {"op": "remove", "path": "/m"},
        ),
    )
    assert content_of(merged.record) == {"n": 11, "tags": [None, "b"], "new": True}
    records.patch("m-1", {"n": 5, "tags": ["c"], "other": 1})
    assert content_of(ada.one("m-1").record) == {"n": 11, "tags": [None, "b"], "new": True, "other": 1}


def test_creation_is_a_record_of_version_0_for_its_user(records: Records, ada: Drafts) -> None:
    merged = ada.change("m-1", create={"a": 1}, session_id="s")
    assert (merged.draft_kind, merged.record.version) == (draft_pb2.DRAFT_KIND_CREATE, 0)
    assert merged.record.create_time == merged.record.update_time == merged.modify_time
    assert (merged.record.created_by, list(merged.modified_fields)) == ("ada", ["a"])
    assert records.is_missing("m-1")
    changed = ada.change("m-1", {"b": 2}, session_id="s")
    assert (content_of(changed.record), changed.draft_kind) == ({"a": 1, "b": 2}, draft_pb2.DRAFT_KIND_CREATE)


def test_creation_that_is_deleted_again_leaves_nothing(ada: Drafts) -> None:
    ada.change("m-1", create={"a": 1})
    (result,) = ada.save(edit("m-1", delete=True))
    assert (result.status.code, result.HasField("record")) == (0, False)
    assert ada.page(show_deleted=True).records == []
    assert ada.drafted() == []


def test_deletion_that_creates_again_replaces_the_content(records: Records, ada: Drafts) -> None:
    records.create("m-1", CONTENT)
    deleted = ada.change("m-1", delete=True)
    assert (deleted.draft_kind, list(deleted.modified_fields)) == (draft_pb2.DRAFT_KIND_DELETE, ["a", "b", "c"])
    assert ada.change("m-1", delete=True).draft_version == 2
    created = ada.change("m-1", create={"d": 1})
    assert (content_of(created.record), created.draft_kind) == ({"d": 1}, draft_pb2.DRAFT_KIND_CHANGE)
    ada.commit()
    assert records.content("m-1") == {"d": 1}


def test_empty_list_of_operations_drafts_no_change(records: Records, ada: Drafts) -> None:
    records.create("m-1", {"a": 1})
    (result,) = ada.save(edit("m-1", operations=types_pb2.OperationList()))
    assert (content_of(result.record.record), [*result.record.modified_fields]) == ({"a": 1}, [])
    assert [each.record.version for each in ada.commit(all=True)] == [1]


def test_edits_are_answered_in_their_order(records: Records, ada: Drafts) -> None:
    for n in range(5):
        records.create(f"m-{n}", {"n": n})
    order = [3, 0, 4, 1, 2]
    results = ada.save(*(edit(f"m-{n}", {"a": n}) for n in order))
    assert [content_of(each.record.record) for each in results] == [{"n": n, "a": n} for n in order]


def test_one_edit_that_fails_keeps_all_from_being_saved(records: Records, ada: Drafts) -> None:
    records.create("m-1", {})
    refusal = ada.refused("SaveDraft", ada.saving(edit("m-1", {"a": 1}), edit("none", {"a": 1})))
    assert (refusal.code.name, refusal.reason) == ("NOT_FOUND", "RECORD_NOT_FOUND")
    assert refusal.message.startswith("edits[1]: ")
    assert ada.drafted() == []


def test_allow_partial_saves_the_rest_and_tells_each(records: Records, ada: Drafts) -> None:
    records.create("m-1", {})
    records.create("m-2", {})
    records.delete("m-2")
    results = ada.save(
        edit("none", {"a": 1}),
        edit("m-1", {"a": 1}),
        edit("m-2", {"a": 1}),
        edit("m-3", create={"x": "\0"}),
        edit("m-4", {"a": 1}, base_version=3),
        edit("m-5", operations=steps({"op": "test", "path": "/a", "value": 1})),
        edit("m-6", create={"b": 1}),
        allow_partial=True,
    )
    reasons = [refusal_in(each.status).reason if each.status.code else "" for each in results]
    assert reasons == [
        "RECORD_NOT_FOUND", "", "RECORD_DELETED", "INVALID_DOCUMENT", "VERSION_MISMATCH", "INVALID_FIELD", "",
    ]  # fmt: skip
    assert list(refusal_in(results[3].status).fields) == ["edits[3].create.json"]
    assert [each.HasField("record") for each in results] == [not reason for reason in reasons]
    assert ada.drafted() == ["m-1", "m-6"]


def test_answer_holds_the_fields_and_the_form_that_were_asked_for(records: Records, ada: Drafts) -> None:
    records.create("m-1", {"a": 1, "b": 2})
    assert content_of(ada.change("m-1", {"c": 3}, fields=["c", "a", "none"]).record) == {"c": 3, "a": 1}
    (result,) = ada.save(edit("m-1", {"c": 4}), response_encoding=types_pb2.ENCODING_UNSPECIFIED)
    assert result.record.record.content.WhichOneof("encoding") == "struct"
    (bare,) = ada.save(edit("m-1", {"c": 5}), omit_content=True)
    assert not bare.record.record.HasField("content")
    assert list(bare.record.modified_fields) == ["c"]


def test_number_that_is_no_double_comes_back_as_text(records: Records, ada: Drafts) -> None:
    records.create("m-1", '{"a": 1}')
    exact = "123456789012345678901234567890.123456789012345678901234567890"
    (result,) = ada.save(edit("m-1", f'{{"n": {exact}}}'), response_encoding=types_pb2.ENCODING_STRUCT)
    assert exact in result.record.record.content.json
    (listed,) = ada.page(response_encoding=types_pb2.ENCODING_STRUCT).records
    assert exact in listed.record.content.json


def test_deepest_document_decodes_in_every_answer(records: Records, ada: Drafts) -> None:
    deep = nested(32)
    records.create("m-1", deep)
    struct = {"response_encoding": types_pb2.ENCODING_STRUCT}
    expected = [{**deep, "a": 1}, deep]
    saved = ada.save(edit("m-1", {"a": 1}), edit("m-2", create=deep), **struct)
    assert [content_of(each.record.record) for each in saved] == expected
    assert [content_of(each.record) for each in ada.page(**struct).records] == expected
    assert [content_of(each.record) for part in ada.stream(**struct) for each in part.records] == expected
    assert [content_of(each.record) for each in ada.commit(validate_only=True, **struct)] == expected
    assert [content_of(each.record) for each in ada.discard(include_content=True, **struct)] == expected


def test_merge_over_a_limit_is_refused(records: Records, ada: Drafts) -> None:
    records.create("m-1", nested(32))
    inner: Any = nested(2)
    for _ in range(31):
        inner = {"n": inner}
    refusal = ada.refused("SaveDraft", ada.saving(edit("m-1", inner, strategy=DEEP)))
    assert refusal.reason == "DOCUMENT_TOO_LARGE"
    path = "/n" * 31 + "/x"
    add = steps({"op": "add", "path": path, "value": {}})
    assert ada.refused("SaveDraft", ada.saving(edit("m-1", operations=add))).reason == "DOCUMENT_TOO_LARGE"
    half = {"a": "x" * 600_000}
    ada.change("m-1", half, strategy=REPLACE)
    refusal = ada.refused("SaveDraft", ada.saving(edit("m-1", {"b": "x" * 600_000})))
    assert (refusal.code.name, refusal.reason) == ("INVALID_ARGUMENT", "DOCUMENT_TOO_LARGE")
    assert ada.one("m-1").draft_version == 1


def test_thousand_edits_are_saved_at_once(ada: Drafts) -> None:
    results = ada.save(*(edit(f"m-{n:04}", create={"n": n}) for n in range(1_000)), omit_content=True)
    assert [each.record.record.record_id for each in results] == [f"m-{n:04}" for n in range(1_000)]
    assert ada.page(page_size=1, include_total_size=True).total_size == 1_000
