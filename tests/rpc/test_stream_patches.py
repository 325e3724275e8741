"""Patches over a stream: outcomes of their own, the order of a record, flow control and the end of a stream."""

from __future__ import annotations

import asyncio
import queue
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from draftline.v1 import content_pb2, content_pb2_grpc, types_pb2
from support.authenticated_server import ISSUER, bearer, guarded
from support.polling import BLOCKED, until
from support.responses import INVALID, TIMEOUT_S, Records, content_of, exact, refusal_in, refusal_of, steps

Message, Item = content_pb2.StreamPatchesRequest, content_pb2.StreamPatchesItem


def message(*patches: content_pb2.PatchContentRequest) -> Message:
    return Message(items=[Item(patch=patch) for patch in patches])


def outcomes(records: Records, messages: Iterable[Any], **options: Any) -> dict[int, content_pb2.StreamPatchesResult]:
    """Send the messages and return all outcomes by the index of their patch."""
    found: dict[int, content_pb2.StreamPatchesResult] = {}
    for response in records.stub.StreamPatches(iter(messages), timeout=TIMEOUT_S, **options):
        for result in response.results:
            assert result.index not in found
            found[result.index] = result
    return found


def test_each_patch_has_the_outcome_of_its_call(patched: Records) -> None:
    for name in "abc":
        patched.create(name, {"n": 1})
    results = outcomes(
        patched,
        [
            message(patched.patching("a", {"n": 2})),
            message(patched.patching("missing", {"n": 2}), patched.patching("b", operations=steps(
                {"op": "increment", "path": "/n", "value": 5}))),
            message(patched.patching("c", {"n": 3}, expected_version=7)),
        ],
    )  # fmt: skip
    assert sorted(results) == [0, 1, 2, 3]
    assert (content_of(results[0].record), results[0].record.version) == ({"n": 2}, 2)
    assert list(results[0].changed_fields) == ["n"]
    assert refusal_in(results[1].status).reason == "RECORD_NOT_FOUND"
    assert content_of(results[2].record) == {"n": 6}
    mismatch = refusal_in(results[3].status)
    assert (mismatch.code, mismatch.reason) == (grpc.StatusCode.ABORTED, "VERSION_MISMATCH")
    assert [patched.content(name)["n"] for name in "abc"] == [2, 6, 1]


def test_patches_of_one_record_are_applied_in_their_order(patched: Records) -> None:
    patched.create("a", {"seen": []})
    added = [patched.patching("a", operations=steps({"op": "add", "path": "/seen/-", "value": n})) for n in range(100)]
    results = outcomes(patched, [message(*added[:1]), message(*added[1:60]), *map(message, added[60:])])
    assert [results[index].record.version for index in range(100)] == list(range(2, 102))
    assert patched.content("a")["seen"] == list(range(100))


def test_order_of_a_record_holds_while_its_first_patch_waits_for_a_lock(
    records: Records, server: Any, locked_record: Any
) -> None:
    for name in ("held", "free"):
        records.create(name, {"seen": []})
    sent: queue.Queue[Any] = queue.Queue()
    with locked_record(server.url, "held", records.tenant_id):
        for n in range(5):
            sent.put(message(records.patching("held", operations=steps({"op": "add", "path": "/seen/-", "value": n}))))
        sent.put(message(records.patching("free", {"seen": [1]})))
        call = records.stub.StreamPatches(iter(sent.get, None), timeout=TIMEOUT_S)
        first = next(call)
        assert [result.index for result in first.results] == [5]
    sent.put(None)
    rest = [result for response in call for result in response.results]
    assert sorted(result.index for result in rest) == [0, 1, 2, 3, 4]
    assert records.content("held")["seen"] == [0, 1, 2, 3, 4]


def test_creations_and_deletions_keep_their_place_among_the_patches_of_a_record(patched: Records) -> None:
    deletion = content_pb2.DeleteContentRequest(**patched.ids("a"))
    items = [
        Item(create=patched.creation("a", {"n": 1})),
        Item(patch=patched.patching("a", {"n": 2})),
        Item(delete=deletion),
        Item(patch=patched.patching("a", {"n": 3})),
        Item(create=patched.creation("a", {"n": 4}, allow_deleted=True)),
        Item(create=patched.creation("a", {"n": 5})),
        Item(create=patched.creation("", {"n": 6})),
        Item(),
    ]
    results = outcomes(patched, [Message(items=items)])
    versions = [results[index].record.version for index in range(8)]
    assert versions == [1, 2, 3, 0, 4, 0, 1, 0]
    reasons = {index: refusal_in(results[index].status).reason for index in (3, 5, 7)}
    assert reasons == {3: "RECORD_DELETED", 5: "RECORD_EXISTS", 7: "INVALID_FIELD"}
    assert patched.content("a") == {"n": 4}
    assert patched.content(results[6].record.record_id) == {"n": 6}


def test_patch_that_violates_the_contract_fails_alone(records: Records) -> None:
    records.create("a", {"n": 1})
    results = outcomes(
        records,
        [
            message(records.patching("", {"n": 2}), records.patching("a", {"n": 2}), records.patching("a")),
            message(records.patching("a", "[1]"), records.patching("a", {"n": 3}, condition="n = ")),
            message(records.patching("a", {"n": 4}, validate_only=True)),
        ],
    )
    refusals = {index: refusal_in(result.status) for index, result in results.items() if result.status.code}
    assert {index: refusal.code for index, refusal in refusals.items()} == dict.fromkeys((0, 2, 3, 4), INVALID)
    assert list(refusals[0].fields) == ["record_id"]
    assert list(refusals[4].fields) == ["condition"]
    assert content_of(results[5].record) == {"n": 4}
    assert records.content("a") == {"n": 2}


def raw_outcomes(server: Any, *messages: bytes) -> Iterator[content_pb2.StreamPatchesResult]:
    """Send messages as bytes and yield the outcomes as they arrive."""
    with grpc.insecure_channel(server.address) as channel:
        send = channel.stream_stream(
            "/draftline.v1.ContentService/StreamPatches",
            response_deserializer=content_pb2.StreamPatchesResponse.FromString,
        )
        for response in send(iter(messages), timeout=TIMEOUT_S):
            yield from response.results


def test_patch_with_two_changes_on_the_wire_fails_alone(records: Records, server: Any) -> None:
    """Protobuf would keep the last of two members of a oneof and silently drop the other."""
    records.create("a", {"n": 1})
    operations = content_pb2.PatchContentRequest(operations=steps({"op": "remove", "path": "/n"}))
    torn = records.patching("a", {"n": 2}).SerializeToString() + operations.SerializeToString()
    torn = b"\x0a" + bytes([len(torn)]) + torn
    intact = message(records.patching("a", {"m": 1})).SerializeToString()
    results = {result.index: result for result in raw_outcomes(server, b"\x0a" + bytes([len(torn)]) + torn + intact)}
    assert refusal_in(results[0].status).code is INVALID
    assert content_of(results[1].record) == {"n": 1, "m": 1}


def test_message_that_cannot_be_read_ends_the_stream_after_the_known_outcomes(records: Records, server: Any) -> None:
    records.create("a", {"n": 1})
    increment = message(records.patching("a", operations=steps({"op": "increment", "path": "/n", "value": 1})))
    for wrong, reason in ((b"\xff\xff", "UNDECODABLE_REQUEST"), (b"", "INVALID_FIELD")):
        results = raw_outcomes(server, increment.SerializeToString(), wrong)
        assert next(results).index == 0
        with pytest.raises(grpc.RpcError) as caught:
            next(results)
        assert refusal_of(caught.value).reason == reason
    assert records.content("a") == {"n": 3}


def test_patch_of_another_tenant_is_refused(records: Records) -> None:
    records.create("a", {"n": 1})
    other = Records(records.stub, f"{records.tenant_id}-2").patching("a", {"n": 2}, allow_missing=True)
    results = outcomes(records, [message(records.patching("a", {"n": 2}), other)])
    assert list(refusal_in(results[1].status).fields) == ["tenant_id"]
    assert Records(records.stub, f"{records.tenant_id}-2").is_missing("a")


def test_repeated_request_id_writes_once_over_streams_and_calls(patched: Records) -> None:
    patched.create("a", {"n": 1})
    ids = [str(uuid.uuid4()) for _ in range(3)]
    patches = [
        patched.patching("a", operations=steps({"op": "increment", "path": "/n", "value": 1}), request_id=each)
        for each in ids
    ]
    first = outcomes(patched, [message(*patches)])
    again = outcomes(patched, [message(patches[2]), message(patches[0])])
    assert [exact(result.record.content.json)["n"] for result in (first[2], again[0], again[1])] == [4, 4, 2]
    assert patched.stub.PatchContent(patches[1], timeout=TIMEOUT_S).record == first[1].record
    assert patched.content("a") == {"n": 4}
    reused = outcomes(patched, [message(patched.patching("a", {"n": 9}, request_id=ids[0]))])
    assert refusal_in(reused[0].status).reason == "REQUEST_ID_REUSED"


def test_broken_stream_is_resumed_by_request_ids_without_loss_or_repetition(records: Records) -> None:
    records.create("a", {"n": 0})
    patches = [
        records.patching(
            "a", operations=steps({"op": "increment", "path": "/n", "value": 1}), request_id=str(uuid.uuid4())
        )
        for _ in range(60)
    ]
    known: set[int] = set()
    call = records.stub.StreamPatches(iter([message(*patches)]), timeout=TIMEOUT_S)
    known.update(result.index for result in next(call).results)
    call.cancel()
    rest = [patch for index, patch in enumerate(patches) if index not in known]
    assert all(not result.status.code for result in outcomes(records, [message(*rest)]).values())
    assert records.content("a") == {"n": 60}


def test_message_without_patches_is_refused(records: Records) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        outcomes(records, [Message()])
    assert refusal_of(caught.value).fields == {"items": "must contain 1 to 1000 writes in each message"}


def test_many_patches_pass_through_the_limit_of_those_in_progress(records: Records) -> None:
    names = [f"r{n}" for n in range(1_500)]
    created = [records.patching(name, {"n": 1}, allow_missing=True) for name in names]
    results = outcomes(records, [message(*created[:1_000]), message(*created[1_000:])])
    assert len(results) == 1_500
    assert {result.status.code for result in results.values()} == {0}


def test_caller_who_reads_no_outcomes_is_not_read_either(serving: Any, database_url: str, tenant_id: str) -> None:
    """Outcomes of 1 MiB each: if all were made, they would take a gigabyte."""

    async def count_read() -> int:
        taken = 0

        async def patches() -> Any:
            nonlocal taken
            for n in range(1_000):
                patch = content_pb2.PatchContentRequest(
                    tenant_id=tenant_id, collection="films", record_id=f"big-{n % 4}", allow_missing=True,
                    delta=types_pb2.Document(json='{"text": "' + "x" * 200_000 + f'{n}"' + "}"),
                )  # fmt: skip
                yield message(patch)
                taken = n + 1

        async with grpc.aio.insecure_channel(running.address) as channel:
            call = content_pb2_grpc.ContentServiceStub(channel).StreamPatches(patches())
            before = -1
            while taken != before:  # until flow control stops the sender
                before = taken
                await asyncio.sleep(1.0)
            assert not call.done()
            call.cancel()
        return taken

    with serving(database_url) as running:
        assert asyncio.run(count_read()) < 500


def test_silent_stream_ends_with_the_outcomes_of_what_it_sent(serving: Any, database_url: str, tenant_id: str) -> None:
    with serving(database_url, stream_idle_timeout_s=1.0) as running, grpc.insecure_channel(running.address) as channel:
        records = Records(content_pb2_grpc.ContentServiceStub(channel), tenant_id)
        records.create("a", {"n": 1})
        sent: queue.Queue[Any] = queue.Queue()
        sent.put(message(records.patching("a", {"n": 2})))
        call = records.stub.StreamPatches(iter(sent.get, None), timeout=TIMEOUT_S)
        assert next(call).results[0].record.version == 2
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        sent.put(None)
        assert refusal_of(caught.value).reason == "DEADLINE_EXCEEDED"


def test_draining_server_sends_the_outcomes_of_what_it_has_read(
    serving: Any, database_url: str, tenant_id: str
) -> None:
    sent: queue.Queue[Any] = queue.Queue()
    with ExitStack() as stack:
        with serving(database_url) as running:
            channel = stack.enter_context(grpc.insecure_channel(running.address))
            records = Records(content_pb2_grpc.ContentServiceStub(channel), tenant_id)
            records.create("a", {"n": 1})
            sent.put(message(records.patching("a", {"n": 2})))
            call = records.stub.StreamPatches(iter(sent.get, None), timeout=TIMEOUT_S)
            assert next(call).results[0].record.version == 2
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        sent.put(None)
        assert refusal_of(caught.value).reason == "DRAINING"


def test_stream_of_a_caller_without_read_permission_shows_no_content(database_url: str, tmp_path: Any) -> None:
    with guarded(database_url, tmp_path) as server:
        stub = content_pb2_grpc.ContentServiceStub(server.channel)
        records = Records(stub, "acme")
        token = ISSUER.token(scope="content:write")
        patch = records.patching("a", {"n": 2}, allow_missing=True, request_id=str(uuid.uuid4()))
        for _ in range(2):  # the second one is the stored response
            (result,) = outcomes(records, [message(patch)], metadata=bearer(token)).values()
            assert result.record.version == 1
            assert not result.record.HasField("content")
        with pytest.raises(grpc.RpcError) as caught:
            outcomes(records, [message(patch)], metadata=bearer(ISSUER.token(scope="content:read")))
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def incremented(records: Records, record_id: str = "a", **options: Any) -> content_pb2.PatchContentRequest:
    operation = {"op": "increment", "path": "/n", "value": 1}
    return records.patching(record_id, operations=steps(operation), **options)


def test_write_that_exceeds_its_time_limit_fails_alone(
    serving: Any, database_url: str, tenant_id: str, locked_record: Any
) -> None:
    with serving(database_url, call_timeout_s=1.0) as running, grpc.insecure_channel(running.address) as channel:
        records = Records(content_pb2_grpc.ContentServiceStub(channel), tenant_id)
        for name in ("held", "free"):
            records.create(name, {"n": 1})
        with locked_record(database_url, "held", tenant_id):
            results = outcomes(records, [message(incremented(records, "held"), incremented(records, "free"))])
        late = refusal_in(results[0].status)
        assert (late.code, late.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert content_of(results[1].record) == {"n": 2}
        assert content_of(outcomes(records, [message(incremented(records, "held"))])[0].record)["n"] >= 2


def test_deadline_of_the_stream_ends_it(records: Records, server: Any, locked_record: Any, sql: Any) -> None:
    records.create("held", {"n": 1})
    sent: queue.Queue[Any] = queue.Queue()
    with locked_record(server.url, "held", records.tenant_id):
        sent.put(message(incremented(records, "held")))
        call = records.stub.StreamPatches(iter(sent.get, None), timeout=1.0)
        with pytest.raises(grpc.RpcError) as caught:
            for _ in call:
                pass
        sent.put(None)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        # The caller does not know the outcome: the write is done if the record is unlocked before it is cancelled.
        until(lambda: not sql(server.url, BLOCKED), patience_s=15)
    assert content_of(outcomes(records, [message(incremented(records, "held"))])[0].record)["n"] == 2


def test_stream_ends_when_the_token_of_its_caller_expires(database_url: str, tmp_path: Any) -> None:
    with guarded(database_url, tmp_path, auth_leeway_s=1.0) as server:
        records = Records(content_pb2_grpc.ContentServiceStub(server.channel), "acme")
        token = ISSUER.token(exp=int(time.time()) + 2)
        sent: queue.Queue[Any] = queue.Queue()
        sent.put(message(records.patching("a", {"n": 1}, allow_missing=True)))
        call = records.stub.StreamPatches(iter(sent.get, None), timeout=TIMEOUT_S, metadata=bearer(token))
        assert next(call).results[0].record.version == 1
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        sent.put(None)
        assert refusal_of(caught.value).metadata == {"expired": "true"}


def test_creations_without_an_id_do_not_wait_for_each_other(records: Records, server: Any, locked_record: Any) -> None:
    """Creations with the id of a locked record wait; others, whose ids the service generates, do not."""
    records.create("held", {"n": 1})
    create = records.creation
    with locked_record(server.url, "held", records.tenant_id):
        sent: queue.Queue[Any] = queue.Queue()
        sent.put(Message(items=[Item(patch=incremented(records, "held")), Item(create=create("", {"n": 1}))]))
        sent.put(Message(items=[Item(create=create("", {"n": n})) for n in range(2, 5)]))
        call = records.stub.StreamPatches(iter(sent.get, None), timeout=TIMEOUT_S)
        found: set[int] = set()
        while len(found) < 4:
            found |= {result.index for result in next(call).results}
        assert found == {1, 2, 3, 4}
        call.cancel()
        sent.put(None)


def test_outcomes_larger_than_what_may_be_unsent_all_arrive(records: Records, server: Any) -> None:
    """Each is a ninth of the limit, so only a few writes run at a time."""
    large = {"text": "x" * 900_000, "n": 0}
    for name in "abcd":
        records.create(name, large)
    patches = [incremented(records, "abcd"[n % 4], fields=["n"] if n % 3 else []) for n in range(40)]
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.address, options=options) as channel:
        unlimited = Records(content_pb2_grpc.ContentServiceStub(channel), records.tenant_id)
        results = outcomes(unlimited, [message(*patches)])
    assert [results[index].status.code for index in range(40)] == [0] * 40


def test_writes_of_a_stream_leave_the_queue_to_other_tenants(
    serving: Any, database_url: str, tenant_id: str, locked_record: Any
) -> None:
    with (
        serving(database_url, max_in_flight=4, queue_limit=8, queue_timeout_s=TIMEOUT_S) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        stub = content_pb2_grpc.ContentServiceStub(channel)
        records, others = Records(stub, tenant_id), Records(stub, f"{tenant_id}-2")
        names = [f"r{n}" for n in range(100)]
        with ExitStack() as stack:
            for name in names[:4]:
                records.create(name, {"n": 1})
                stack.enter_context(locked_record(database_url, name, tenant_id))
            patches = [incremented(records, name, allow_missing=name not in names[:4]) for name in names]
            call = stub.StreamPatches(iter([message(*patches)]), timeout=TIMEOUT_S)
            until(lambda: running.app.server.calls.admission.waiting)
            created = stub.CreateContent.future(others.creation("a", {"n": 1}), timeout=TIMEOUT_S)
            until(lambda: created.done() or running.app.server.calls.admission.waiting > 1)
        assert created.result().record.version == 1
        assert {result.status.code for response in call for result in response.results} == {0}
