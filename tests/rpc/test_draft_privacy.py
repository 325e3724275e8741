"""Nobody sees another's drafts: in no view, filter, order, count, token, record id, commit or discard."""

from __future__ import annotations

from typing import Any

import pytest
from draftline.v1 import collection_pb2, collection_pb2_grpc, content_pb2, draft_pb2
from support.draft_calls import Drafts, edit
from support.responses import Records, refused

VIEWS = [draft_pb2.VIEW_MERGED, draft_pb2.VIEW_BASELINE, draft_pb2.VIEW_DRAFTS_ONLY]
FILTERS = [
    "",
    'secret = "ada"',
    "secret:*",
    'secret = "a*"',
    'NOT secret = "ada"',
    "n < 100",
    "record.state = DRAFT",
    "record.modified_by = ada",
    'record.modified_by = "ada" OR record.modified_by = "bob"',
    "record.modified_by:*",
    "NOT record.modified_by:*",
    "record.session_id = s",
    "record.session_id:*",
    "record.draft_version > 0",
    "record.modify_time > 2000-01-01T00:00:00Z",
    "record.version = 0",
    'record.record_id = "new"',
    'record.parent.secret = "ada"',
    "record.children.secret:*",
    "NOT record.children.record.state = DRAFT",
    "peer.secret:* OR peers.secret:*",
    "peers.record.modified_by = ada",
]
PEER = collection_pb2.DeclaredRelation(name="peer", field="/peer", collection="films", inverse="peers")
ORDERS = ["", "secret", "secret desc, n", "record.modify_time desc", "record.draft_version, n"]


@pytest.fixture
def undrafted(records: Records, bob: Drafts) -> dict[tuple[Any, ...], Any]:
    """Return all responses to bob while there are no drafts."""
    collections = collection_pb2_grpc.CollectionServiceStub(bob.channel)
    collections.PutCollection(collection_pb2.PutCollectionRequest(**bob.where, relations=[PEER]), timeout=30)
    for n in range(6):
        records.create(f"m-{n}", {"n": n, "peer": f"m-{n % 2}"}, parent_id=f"m-{n // 2}" if n else "")
    return asked(bob)


def asked(user: Drafts) -> dict[tuple[Any, ...], Any]:
    answers: dict[tuple[Any, ...], Any] = {}
    for view in VIEWS:
        for filter_ in FILTERS:
            for show_deleted in (False, True):
                query = {"view": view, "filter": filter_, "show_deleted": show_deleted}
                answers[tuple(query.values())] = user.page(**query, include_total_size=True)
        for order_by in ORDERS:
            first = user.page(view=view, order_by=order_by, page_size=2, include_total_size=True)
            answers[view, order_by] = first
            if first.next_page_token:
                answers[view, order_by, 2] = user.page(view=view, order_by=order_by, page_token=first.next_page_token)
        for session_id in ("s", "t"):
            answers[view, "session", session_id] = user.page(view=view, session_id=session_id, include_total_size=True)
        ids = ["m-1", "m-2", "m-3", "new"]
        answers[view, "ids"] = user.page(view=view, record_ids=ids, include_total_size=True)
        expand = ["parent.parent", "children", "peer", "peers.children"]
        answers[view, "expand"] = user.page(view=view, show_deleted=True, expand=expand)
        answers[view, "stream"] = list(user.stream(view=view, show_deleted=True))
    return answers


def test_drafts_of_another_change_no_answer(undrafted: Any, ada: Drafts, bob: Drafts) -> None:
    ada.save(
        edit("m-1", {"secret": "ada", "n": 1_000}),
        edit("m-2", delete=True),
        edit("m-3", {}),
        edit("m-4", {"peer": "m-5"}, parent_id="m-5"),
        edit("new", create={"secret": "ada", "peer": "m-1"}, parent_id="m-0"),
        session_id="s",
        change_reason="secret",
    )
    found = asked(bob)
    for question, answer in undrafted.items():
        assert found[question] == answer, question
    mine = asked(ada)
    assert mine[draft_pb2.VIEW_MERGED, 'secret = "ada"', False].total_size == 2
    assert mine[draft_pb2.VIEW_BASELINE, 'secret = "ada"', False].total_size == 0
    assert mine[draft_pb2.VIEW_MERGED, "record.children.secret:*", False].total_size == 1
    assert mine[draft_pb2.VIEW_MERGED, "expand"] != undrafted[draft_pb2.VIEW_MERGED, "expand"]


def test_creation_of_another_is_not_there(ada: Drafts, bob: Drafts, records: Records) -> None:
    ada.change("new", create={"secret": "ada"})
    refusal = bob.refused("SaveDraft", bob.saving(edit("new", {"a": 1})))
    assert refusal.reason == "RECORD_NOT_FOUND"
    assert refusal.metadata == {"record_id": "new"}
    assert records.is_missing("new")
    get = content_pb2.GetContentRequest(**records.ids("new"), show_deleted=True)
    assert refused(records.stub.GetContent, get, metadata=ada.metadata).reason == "RECORD_NOT_FOUND"
    assert bob.change("new", create={"bobs": 1}).draft_version == 1
    assert ada.contents() == {"new": {"secret": "ada"}}
    assert bob.contents() == {"new": {"bobs": 1}}


def test_save_commit_and_discard_touch_ones_own_alone(ada: Drafts, bob: Drafts, records: Records) -> None:
    records.create("m-1", {"n": 1})
    records.create("m-2", {"n": 2})
    ada.save(edit("m-1", {"a": 1}), edit("m-2", {"a": 1}), session_id="s")
    own = bob.change("m-1", {"b": 1}, expected_draft_version=0, session_id="s")
    assert (own.draft_version, list(own.modified_fields)) == (1, ["b"])
    refusal = bob.refused("Commit", bob.committing(record_ids=["m-2"]))
    assert refusal.reason == "DRAFT_NOT_FOUND"
    assert bob.refused("Discard", bob.discarding(record_ids=["m-2"])).reason == "DRAFT_NOT_FOUND"
    assert [each.record_id for each in bob.commit(session_id="s", validate_only=True)] == ["m-1"]
    assert [each.record_id for each in bob.commit()] == ["m-1"]
    assert bob.discard() == []
    assert bob.discard(session_id="s") == []
    assert records.content("m-1") == {"n": 1, "b": 1}
    assert ada.contents() == {"m-1": {"n": 1, "a": 1, "b": 1}, "m-2": {"n": 2, "a": 1}}


def test_conflict_shows_what_was_committed_and_not_who_drafts(ada: Drafts, bob: Drafts, records: Records) -> None:
    records.create("m-1", {"n": 1})
    ada.change("m-1", {"n": "ada"})
    bob.change("m-1", {"n": "bob"})
    bob.commit()
    _, (conflict,) = ada.conflicts()
    assert (conflict.base.json, conflict.mine.json, conflict.theirs.json) == ("1", '"ada"', '"bob"')


@pytest.mark.parametrize("change", [{"tenant_id": "somebody-else"}, {"collection": "series"}])
def test_drafts_of_another_tenant_or_collection_are_apart(
    ada: Drafts, change: dict[str, str], records: Records
) -> None:
    if "tenant_id" in change:
        change = {"tenant_id": f"{ada.tenant_id}-2"}
    elsewhere = ada.of(**change)
    ada.change("m-1", create={"here": 1}, session_id="s")
    assert elsewhere.page(include_total_size=True, show_deleted=True).total_size == 0
    assert elsewhere.commit() == []
    assert elsewhere.discard(session_id="s") == []
    assert elsewhere.change("m-1", create={"there": 1}).draft_version == 1
    elsewhere.commit()
    assert ada.contents() == {"m-1": {"here": 1}}
    assert records.is_missing("m-1")
