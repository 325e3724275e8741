"""A draft belongs to one session: no other save takes it over, and no other selection takes it along."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from support.draft_calls import Drafts, edit
from support.responses import Records, content_of, refusal_in


@pytest.fixture
def film(records: Records, ada: Drafts) -> Drafts:
    for record_id in ("m-1", "m-2"):
        records.create(record_id, {"n": 1})
    return ada


KINDS: dict[str, dict[str, Any]] = {
    "change": {"delta": {"b": 1}},
    "replacing change": {"delta": {"b": 1}, "replace": True},
    "deletion": {"delete": True},
    "expected version": {"delta": {"b": 1}, "expected_draft_version": 1},
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(("own", "other"), [("one", "two"), ("one", ""), ("", "two")])
def test_save_from_another_session_is_refused_and_changes_nothing(
    film: Drafts, own: str, other: str, kind: str
) -> None:
    before = film.change("m-1", {"a": 1}, session_id=own)
    refusal = film.refused("SaveDraft", film.saving(edit("m-1", **dict(KINDS[kind])), session_id=other))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DRAFT_IN_OTHER_SESSION")
    assert refusal.metadata == {"record_id": "m-1", "session_id": own}
    after = film.one("m-1")
    assert (after.draft_version, after.session_id, content_of(after.record)) == (
        before.draft_version, own, {"n": 1, "a": 1}
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["change", "deletion"])
def test_drafted_creation_belongs_to_its_session(ada: Drafts, kind: str) -> None:
    ada.change("new", create={"a": 1}, session_id="one")
    refusal = ada.refused("SaveDraft", ada.saving(edit("new", **dict(KINDS[kind])), session_id="two"))
    assert refusal.reason == "DRAFT_IN_OTHER_SESSION"
    assert content_of(ada.one("new").record) == {"a": 1}


def test_each_edit_of_a_partial_save_is_refused_on_its_own(film: Drafts) -> None:
    film.change("m-1", {"a": 1}, session_id="one")
    refused, saved = film.save(edit("m-1", {"b": 1}), edit("m-2", {"b": 1}), session_id="two", allow_partial=True)
    assert refusal_in(refused.status).metadata == {"record_id": "m-1", "session_id": "one"}
    assert (saved.status.code, saved.record.session_id) == (0, "two")


@pytest.mark.parametrize("target", ["two", ""])
def test_save_moves_the_whole_draft_when_asked(film: Drafts, target: str) -> None:
    film.change("m-1", {"a": 1}, session_id="one")
    moved = film.change("m-1", {"b": 1}, session_id=target, move_to_session=True)
    assert (moved.session_id, content_of(moved.record)) == (target, {"n": 1, "a": 1, "b": 1})
    assert film.commit(session_id="one") == []
    assert [each.record_id for each in film.commit()] == ["m-1"]


def test_answer_tells_how_many_drafts_were_selected(film: Drafts) -> None:
    film.save(edit("m-1", {"a": 1}), edit("m-2", {"a": 1}), session_id="one")
    for name, make in (("Commit", film.committing), ("Discard", film.discarding)):
        assert film.send(name, make(session_id="other")).selected_count == 0
        assert film.send(name, make(session_id="one", validate_only=True)).selected_count == 2
    assert film.send("Commit", film.committing(record_ids=["m-1"])).selected_count == 1
    assert film.send("Discard", film.discarding(session_id="one")).selected_count == 1
    assert film.send("Discard", film.discarding()).selected_count == 0
