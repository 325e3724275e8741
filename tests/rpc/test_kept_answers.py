"""Stored responses are small, and equal the first response whatever happens to the record."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import grpc
import pytest
from draftline.v1 import collection_pb2, content_pb2, types_pb2
from support.idempotent_calls import Caller, text
from support.mutating_calls import deleting, importing, increment, patching, undeleting, with_id
from support.responses import steps
from support.sql import fetch

MOST_BYTES = 130  # of a row, whatever the content's size; its place in two indexes takes 80 more
SIZES = "SELECT max(pg_column_size(q.*)) FROM draftline.request AS q WHERE tenant_id = $1"


@pytest.fixture(scope="module", params=["server", "replacing_server"])
def serving(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def channel(serving: Any) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(serving.address) as opened:
        yield opened


@pytest.fixture
def caller(channel: grpc.Channel) -> Caller:
    return Caller(channel, f"tenant-{uuid.uuid4().hex[:12]}")


def ask(url: str, query: str, *arguments: object) -> Any:
    rows = fetch(url, query, *arguments)
    return rows[0][0] if rows else None


def declare(caller: Caller, history: int) -> None:
    caller.send(
        "PutCollection",
        collection_pb2.PutCollectionRequest(tenant_id=caller.tenant_id, collection="films", history=history),
    )


class Answered:
    """Sends requests with ids of their own, and knows what each was answered."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.sent: list[tuple[str, Any, bytes]] = []

    def send(self, method: str, request: Any) -> None:
        request = with_id(request, str(uuid.uuid4()))
        if hasattr(request, "response_encoding"):
            request.response_encoding = types_pb2.ENCODING_JSON
        self.sent.append((method, request, text(self._caller.send(method, request))))

    def check(self) -> None:
        for method, request, answer in self.sent:
            assert text(self._caller.send(method, request)) == answer, (method, request)


def test_answers_are_the_first_ones_after_any_changes(caller: Caller) -> None:
    answered, chance = Answered(caller), random.Random(20261128)
    patch = partial(patching, caller)
    answered.send("CreateContent", caller.records.creation("a", {"n": 1, "o": {"x": [1, {"y": None}]}, "t": "é"}))
    for number in range(90):  # past several of the snapshots that the log keeps
        key = chance.choice("nopqr")
        delta = {key: chance.choice([None, number, {"x": number}, [number], "text"]), "step": number}
        strategy = chance.choice([types_pb2.MERGE_STRATEGY_SHALLOW, types_pb2.MERGE_STRATEGY_MERGE_PATCH])
        answered.send("PatchContent", patch(delta=delta, strategy=strategy))
        if number % 10 == 3:
            answered.send("PatchContent", patch(parent_id=f"p{number}", position=number))
            answered.send("PatchContent", patch(delta={"step": number}))  # as it is already
        if number % 10 == 5:
            answered.send("DeleteContent", deleting(caller))
            answered.send("UndeleteContent", undeleting(caller))
        if number % 10 == 7:
            answered.send("PatchContent", patch(parent_id="", operations=steps({"op": "remove", "path": "/step"})))
            caller.send("ImportContent", importing(caller, [{"a": {"n": 0, "imported": number}}]))
    answered.send("PatchContent", patching(caller, "b", delta={"n": 1, "m": 2}, allow_missing=True))
    caller.send("PatchContent", patching(caller, "b", delta={"n": None, "o": 3}, position=1))
    answered.check()


def test_creation_with_an_id_of_ours_is_answered_with_that(caller: Caller) -> None:
    answered = Answered(caller)
    answered.send("CreateContent", caller.records.creation("", {"n": 1}))
    record_id = content_pb2.CreateContentResponse.FromString(answered.sent[0][2]).record.record_id
    caller.send("PatchContent", patching(caller, record_id, **increment()))
    answered.check()


def test_kept_answers_are_small_whatever_the_content(serving: Any, caller: Caller) -> None:
    answered = Answered(caller)
    noise = "".join(random.Random(1).choices("0123456789abcdef", k=50_000))
    answered.send("CreateContent", caller.records.creation("a", {"noise": noise}))
    answered.send("PatchContent", patching(caller, **increment()))
    answered.send("DeleteContent", deleting(caller))
    answered.send("UndeleteContent", undeleting(caller))
    assert ask(serving.url, SIZES, caller.tenant_id) <= MOST_BYTES
    answered.check()


def test_answers_over_a_collection_that_logs_no_values_are_the_first_ones(caller: Caller) -> None:
    declare(caller, collection_pb2.CHANGE_HISTORY_PATHS)
    answered = Answered(caller)
    answered.send("CreateContent", caller.records.creation("a", {"n": 1}))
    for _ in range(3):
        answered.send("PatchContent", patching(caller, **increment()))
    answered.send("DeleteContent", deleting(caller))
    answered.send("UndeleteContent", undeleting(caller))
    answered.check()


def test_answer_whose_values_the_log_no_longer_keeps_says_so_and_does_nothing(caller: Caller) -> None:
    answered = Answered(caller)
    answered.send("CreateContent", caller.records.creation("a", {"n": 1}))
    answered.send("PatchContent", patching(caller, **increment()))
    declare(caller, collection_pb2.CHANGE_HISTORY_PATHS)
    answered.check()
    caller.send("PatchContent", patching(caller, **increment()))
    for method, request, _ in answered.sent:
        assert caller.refused(method, request).reason == "HISTORY_NOT_KEPT"
    assert caller.records.content("a") == {"n": 3}


def test_answer_about_a_record_that_was_removed_for_good_says_so(serving: Any, caller: Caller) -> None:
    """Also when there is another of its id, at the same version."""
    answered = Answered(caller)
    answered.send("PatchContent", patching(caller, delta={"n": 1}, allow_missing=True))
    answered.send("PatchContent", patching(caller, delta={"n": 1}))
    for table in ("record", "change"):
        ask(serving.url, f"DELETE FROM draftline.{table} WHERE tenant_id = $1", caller.tenant_id)
    for _ in range(2):
        for method, request, _ in answered.sent:
            assert caller.refused(method, request).reason == "RECORD_NOT_FOUND"
        caller.send("PatchContent", patching(caller, delta={"n": 2}, allow_missing=True))
    assert caller.records.content("a") == {"n": 2}


def test_answer_that_an_earlier_release_kept_is_given(serving: Any, caller: Caller) -> None:
    answered = Answered(caller)
    answered.send("PatchContent", patching(caller, delta={"n": 1}, allow_missing=True))
    kept = ask(
        serving.url,
        "UPDATE draftline.request AS q SET version = NULL, answer = draftline.rebuilt_answer(q.tenant_id, q.user_id, "
        "q.request_id, 'films', 'a') WHERE q.tenant_id = $1 RETURNING answer::text",
        caller.tenant_id,
    )
    assert json.loads(kept)["content"] == {"n": 1}
    caller.send("PatchContent", patching(caller, delta={"n": 2}))
    answered.check()
