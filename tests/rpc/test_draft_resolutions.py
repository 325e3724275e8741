"""Attributes, deleted records and resolutions as the contract has them on the wire."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from draftline.v1 import change_pb2, draft_pb2, types_pb2
from support.draft_calls import Drafts, edit
from support.responses import INVALID, Records, content_of
from support.watch_stream import watching

Side = draft_pb2.Side


def resolution(path: str, version: int, record_id: str = "m-1", **decision: Any) -> draft_pb2.Resolution:
    if "value" in decision:
        decision["value"] = types_pb2.JsonValue(json=decision["value"])
    return draft_pb2.Resolution(record_id=record_id, path=path, version=version, **decision)


@pytest.fixture
def film(records: Records, ada: Drafts) -> Drafts:
    """Drafts of /a and of both attributes, all in conflict but the position."""
    records.create("m-1", {"a": 1})
    ada.change("m-1", {"a": 2}, parent_id="mine", position=2)
    records.patch("m-1", {"a": 3}, parent_id="theirs")
    return ada


def test_attributes_are_saved_shown_and_in_conflict(film: Drafts) -> None:
    merged = film.one("m-1", filter='record.parent_id = "mine" AND record.position = 2')
    assert (merged.record.parent_id, merged.record.position) == ("mine", 2)
    assert list(merged.modified_attributes) == ["parent_id", "position"]
    metadata, conflicts = film.conflicts()
    assert metadata["conflicts_count"] == "2"
    assert [(each.path, each.base.json, each.mine.json, each.theirs.json, each.version) for each in conflicts] == [
        ("/a", "1", "2", "3", 2),
        ("record.parent_id", "", '"mine"', '"theirs"', 2),
    ]
    assert not conflicts[1].HasField("base")


def test_resolutions_decide_and_the_error_tells_what_is_open(film: Drafts) -> None:
    first = resolution("/a", 2, value='{"both": [2, 3]}')
    _, (rest,) = film.conflicts(resolutions=[first])
    assert rest.path == "record.parent_id"
    (result,) = film.commit(
        resolutions=[first, resolution("record.parent_id", 2, side=Side.SIDE_THEIRS)], include_content=True
    )
    assert (content_of(result.record), result.record.parent_id, result.record.position) == (
        {"a": {"both": [2, 3]}}, "theirs", 2
    )  # fmt: skip
    assert (list(result.changed_fields), list(result.changed_attributes)) == (["a"], ["position"])


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (resolution("/a", 2, record_id="none", side=1), "resolutions[0].record_id"),
        (resolution("/b", 2, side=1), "resolutions[0].path"),
        (resolution("/a", 2), "resolutions[0].decision"),
        (resolution("/a", 2, side=0), "resolutions[0].side"),
        (resolution("/a", 2, side=3), "resolutions[0].side"),
        (resolution("/a", 0, side=1), "resolutions[0].version"),
        (resolution("/a", 2, record_id="", side=1), "resolutions[0].record_id"),
        (resolution("record.position", 2, value='"x"'), "resolutions[0].value"),
    ],
)
def test_resolution_that_breaks_a_rule_names_its_field(film: Drafts, wrong: Any, field: str) -> None:
    refusal = film.refused("Commit", film.committing(resolutions=[wrong]))
    assert (refusal.code, refusal.reason, list(refusal.fields)) == (INVALID, "INVALID_FIELD", [field])
    assert film.drafted() == ["m-1"]


def test_attributes_are_cleared(records: Records, ada: Drafts) -> None:
    records.create("m-1", {}, parent_id="p", position=1)
    merged = ada.change("m-1", parent_id="", clear_position=True)
    assert (merged.record.HasField("parent_id"), merged.record.HasField("position")) == (False, False)
    ada.commit()
    assert not records.get("m-1").HasField("position")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"delete": True, "parent_id": "p"}, "parent_id"),
        ({"delete": True, "position": 1}, "position"),
        ({"delete": True, "clear_position": True}, "clear_position"),
        ({"delete": True, "allow_deleted": True}, "allow_deleted"),
        ({"position": 1, "clear_position": True}, "clear_position"),
        ({"parent_id": "x" * 129}, "parent_id"),
        ({"allow_deleted": True}, "edit"),
    ],
)
def test_attributes_that_do_not_go_together_are_refused(film: Drafts, wrong: Any, field: str) -> None:
    refusal = film.refused("SaveDraft", film.saving(edit("m-1", **dict(wrong))))
    assert (refusal.code, list(refusal.fields)) == (INVALID, [f"edits[0].{field}"])


def test_deleted_record_is_brought_back_by_a_draft(records: Records, ada: Drafts) -> None:
    records.create("m-1", {"a": 1})
    records.delete("m-1")
    refusal = ada.refused("SaveDraft", ada.saving(edit("m-1", create={"b": 1})))
    assert (refusal.reason, "allow_deleted" in refusal.message) == ("RECORD_DELETED", True)
    merged = ada.change("m-1", {"b": 1}, allow_deleted=True)
    assert (merged.draft_kind, content_of(merged.record)) == (draft_pb2.DRAFT_KIND_CREATE, {"a": 1, "b": 1})
    assert not merged.record.HasField("delete_time")
    (result,) = ada.commit()
    assert (result.record.version, result.record.HasField("delete_time")) == (3, False)


def test_watched_view_follows_the_drafted_attributes(
    records: Records, ada: Drafts, grpc_channel: grpc.Channel, tenant_id: str
) -> None:
    records.create("m-1", {}, parent_id="p", position=1)
    query = {"collection": "films", "view": change_pb2.WATCH_VIEW_MERGED, "filter": 'record.parent_id = "p"'}
    with watching(grpc_channel, tenant_id, "ada", **query) as watcher:
        ada.change("m-1", position=2)
        (moved,) = watcher.merged(1)
        assert (moved.record.record.position, list(moved.record.modified_attributes)) == (2, ["position"])
        ada.change("m-1", parent_id="q")
        assert not watcher.merged(1)[0].HasField("record")
        ada.discard()
        assert watcher.merged(1)[0].record.record.position == 1


def test_conflict_of_an_error_names_its_record_and_path_whole(records: Records, ada: Drafts) -> None:
    record_id, key = "ä" * 128, "ö" * 400
    records.create(record_id, {key: 1})
    ada.change(record_id, {key: 2})
    records.patch(record_id, {key: 3})
    _, (conflict,) = ada.conflicts()
    assert (conflict.record_id, conflict.path) == (record_id, f"/{key}")
    decided = resolution(conflict.path, conflict.version, conflict.record_id, side=Side.SIDE_MINE)
    ada.commit(resolutions=[decided])
    assert records.content(record_id) == {key: 2}
