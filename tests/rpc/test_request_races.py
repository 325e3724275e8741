"""Calls with request ids where connections are few, locks are crossed, and a call goes on after its write."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from draftline.v1 import collection_pb2
from support.idempotent_calls import Caller, at_once, stored, text
from support.mutating_calls import MUTATIONS, Mutation, batch, deleting, increment, patching, putting, with_id
from support.polling import until
from support.responses import content_of, refusal_of

ROUNDS = 15
BUILDING = """SELECT pid FROM pg_stat_activity WHERE datname = current_database()
    AND query LIKE '%entry_keys(b.content%' AND wait_event_type = 'Lock'"""  # a batch that waits for a locked record


@contextmanager
def calling(server: Any) -> Iterator[Caller]:
    with grpc.insecure_channel(server.address) as channel:
        yield Caller(channel, f"tenant-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def caller(server: Any) -> Iterator[Caller]:
    with calling(server) as opened:
        yield opened


@pytest.fixture(scope="module")
def narrow_server(server: Any, serving: Any) -> Iterator[Any]:
    """One with a single connection to the database."""
    with serving(server.url, pool_size=1) as running:
        yield running


@pytest.mark.parametrize("mutation", {each.method: each for each in MUTATIONS}.values(), ids=str)
def test_calls_at_once_by_two_servers_happen_once(mutation: Mutation, server: Any, narrow_server: Any) -> None:
    with calling(server) as caller, grpc.insecure_channel(narrow_server.address) as narrow:
        mutation.prepare(caller)
        request = with_id(mutation.request(caller), str(uuid.uuid4()))
        callers = [caller, Caller(narrow, caller.tenant_id)]
        answers = at_once(lambda place: callers[place % 2].send(mutation.method, request))
        assert {text(answer) for answer in answers} == {text(answers[0])}
        assert len(stored(server.url, caller)["request"]) == 1


def test_batches_that_cross_in_records_and_ids_do_not_block_each_other(caller: Caller) -> None:
    for name in "ab":
        caller.records.create(name, {"n": 0})
    # Each amount tells in the sum which of them were done.
    orders = [("ab", 1, 0), ("ba", 10**3, 1), ("ab", 10**6, 1), ("ba", 10**9, 0)]
    expected = 0
    for _ in range(ROUNDS):
        ids = [str(uuid.uuid4()) for _ in range(2)]
        sent = [
            with_id(batch(caller, {name: increment(amount) for name in order}), ids[which])
            for order, amount, which in orders
        ]

        def send(place: int) -> bytes | str:
            try:
                return text(caller.send("BatchPatchContent", sent[place % 4]))  # noqa: B023
            except grpc.RpcError as error:
                return refusal_of(error).reason

        outcomes = at_once(send)
        assert outcomes[:4] == outcomes[4:]
        done = [place for place, outcome in enumerate(outcomes[:4]) if isinstance(outcome, bytes)]
        assert {sent[place].request_id for place in done} == set(ids)
        assert [outcome for outcome in outcomes if isinstance(outcome, str)] == ["REQUEST_ID_REUSED"] * 4
        expected += sum(orders[place][1] for place in done)
        assert [caller.records.content(name)["n"] for name in "ab"] == [expected, expected]


def test_call_whose_connection_postgres_ends_is_sent_again(
    caller: Caller, server: Any, sql: Any, locked_record: Callable[..., Any]
) -> None:
    waiting = """SELECT pid FROM pg_stat_activity WHERE datname = current_database()
        AND query LIKE '/* %_content */%' AND wait_event_type = 'Lock'"""
    for name in "ab":
        caller.records.create(name, {"n": 1})
    requests = {
        "PatchContent": patching(caller, "a", **increment()),
        "BatchPatchContent": batch(caller, {"a": increment(), "b": increment()}),
        "DeleteContent": deleting(caller),
    }
    for method, request in requests.items():
        sent = with_id(request, str(uuid.uuid4()))
        with ThreadPoolExecutor(1) as callers, locked_record(server.url, "a", caller.tenant_id):
            call = callers.submit(caller.send, method, sent)
            until(lambda: sql(server.url, waiting))
            sql(server.url, waiting.replace("SELECT pid", "SELECT pg_terminate_backend(pid)"))
        assert text(call.result(30)) == text(caller.send(method, sent))
    assert content_of(caller.records.get("a", show_deleted=True))["n"] == 3
    assert (caller.records.get("a", show_deleted=True).version, caller.records.get("b").version) == (4, 2)


@pytest.fixture
def declaring(caller: Caller) -> collection_pb2.PutCollectionRequest:
    return with_id(putting(caller, ["/n"], expected_version=0), str(uuid.uuid4()))


def test_declarations_at_once_all_wait_for_the_indexes(
    caller: Caller, declaring: Any, server: Any, sql: Any, locked_record: Callable[..., Any]
) -> None:
    caller.records.create("a", {})
    with ThreadPoolExecutor(2) as callers:
        with locked_record(server.url, "a", caller.tenant_id):  # for which a build has to wait
            calls = [callers.submit(caller.send, "PutCollection", declaring)]
            until(lambda: sql(server.url, BUILDING))
            calls.append(callers.submit(caller.send, "PutCollection", declaring))
        answers = [call.result(30) for call in calls]
    assert text(answers[0]) == text(answers[1])
    assert [index.state for index in answers[0].collection.indexes] == [collection_pb2.INDEX_STATE_READY]
    assert answers[0].collection.version == 1


def test_declaration_whose_connection_is_lost_goes_on(
    caller: Caller, declaring: Any, server: Any, sql: Any, locked_record: Callable[..., Any]
) -> None:
    caller.records.create("a", {})
    with ThreadPoolExecutor(1) as callers:
        with locked_record(server.url, "a", caller.tenant_id):
            call = callers.submit(caller.send, "PutCollection", declaring)
            until(lambda: sql(server.url, BUILDING))
            sql(server.url, BUILDING.replace("SELECT pid", "SELECT pg_terminate_backend(pid)"))
        answer = call.result(30)
    assert [index.state for index in answer.collection.indexes] == [collection_pb2.INDEX_STATE_READY]
    assert answer.collection.version == 1
    assert text(caller.send("PutCollection", declaring)) == text(answer)
