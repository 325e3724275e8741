"""A service that is killed or cut off between a write and its answer: what is sent again with its id happens once."""

from __future__ import annotations

import signal
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from support.idempotent_calls import Caller, alike, contents, stored, text
from support.mutating_calls import MUTATIONS, Mutation, head_of, increment, patching, with_id
from support.polling import until
from support.server_process import served
from support.servers import serving
from support.tcp_proxy import Fate, Judge, Way, before_postgres

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
# Writes of one statement, and how many others with their id are sent before it.
ALONE = {
    "CreateContent: a record": 0,
    "CreateContent: a record whose id the service makes": 0,
    "PatchContent: an increment": 0,
    "PatchContent: an expected version": 0,
    "DeleteContent: a record": 0,
    "DeleteContent: a missing record": 1,
    "UndeleteContent: a record": 0,
}
# Writes that end with a COMMIT.
IN_TRANSACTIONS = {
    "PatchContent: a schema that holds once",
    "BatchPatchContent: all",
    "BatchPatchContent: some that fail",
    "ImportContent: a snapshot",
    "SaveDraft: an operation on a draft",
    "SaveDraft: no draft expected",
    "Commit: all",
    "Commit: some",
    "Discard: all",
    "PurgeContent: a record",
    "RevertChange: a commit",
    "PutCollection: no version expected",
    "PutSync: no version expected",
    "PauseSync: both directions",
    "ResumeSync: both directions",
    "RunSync: a snapshot",
    "RetrySync: nothing refused",
    "LinkRecord: a record",
}
TRIED = [each for each in MUTATIONS if str(each) in {*ALONE, *IN_TRANSACTIONS}]

(EXPECTING,) = [each for each in TRIED if str(each) == "PatchContent: an expected version"]


@dataclass(frozen=True)
class Call:
    """A call with an id that any server can be sent."""

    mutation: Mutation
    request: Any
    caller: Caller

    def on(self, channel: grpc.Channel) -> Any:
        """The answer, or the code of the refusal."""
        try:
            return Caller(channel, self.caller.tenant_id).send(self.mutation.method, self.request)
        except grpc.RpcError as error:
            return error.code()


def call_of(mutation: Mutation, channel: grpc.Channel, request_id: str) -> Call:
    """Return the call of a new tenant that has the data which the call needs."""
    caller = Caller(channel, f"tenant-{uuid.uuid4().hex[:12]}")
    mutation.prepare(caller)
    return Call(mutation, with_id(mutation.request(caller), request_id), caller)


def at_commit(fate: Fate, *calls: Call) -> Judge:
    """Return a judge that forwards the commit of each call, and then applies the fate to its connection."""
    waits = {uuid.UUID(head_of(call.request).request_id).bytes: ALONE.get(str(call.mutation)) for call in calls}
    left, committing = len(calls), False

    def judge(way: Way, piece: bytes) -> Fate:
        nonlocal left, committing
        if way is Way.BACK or not left:
            return Fate.PASS
        ends = committing and piece.startswith(b"Q") and b"COMMIT" in piece
        for request_id, others in waits.items():
            if request_id in piece and others is None:
                committing = True
            elif request_id in piece:
                ends = others == 0
                waits[request_id] = others - 1
        left -= ends
        return fate if ends else Fate.PASS

    return judge


def assert_done_once(call: Call, answer: Any, channel: grpc.Channel, url: str) -> None:
    """The tables hold what they would if nothing had gone wrong, and the answer is that of the one write."""
    request_id = head_of(call.request).request_id
    after = stored(url, call.caller)
    assert text(call.on(channel)) == text(answer)
    assert stored(url, call.caller) == after
    other = call_of(call.mutation, channel, request_id)
    other.on(channel)
    assert alike(after) == alike(stored(url, other.caller))
    if call.mutation.method == "CreateContent":
        (record,) = after["record"]
        assert (answer.record.record_id, answer.record.version) == (record["record_id"], 1)


def test_what_is_tried_is_every_rpc_that_writes() -> None:
    assert len(TRIED) == len(ALONE) + len(IN_TRANSACTIONS)
    assert {mutation.method for mutation in TRIED} == {mutation.method for mutation in MUTATIONS}


def test_calls_that_were_written_when_the_service_was_killed_happen_once(database_url: str) -> None:
    with before_postgres(database_url) as (proxy, url):
        settings = {"database_url": url, "pool_size": 2 * len(TRIED)}
        with served(**settings) as service, grpc.insecure_channel(service.address) as channel:
            calls = [call_of(mutation, channel, str(uuid.uuid4())) for mutation in TRIED]
            proxy.judge = at_commit(Fate.SILENCE, *calls)
            with ThreadPoolExecutor(len(calls)) as callers:
                answers = callers.map(lambda call: call.on(channel), calls)
                until(lambda: all(stored(database_url, call.caller)["request"] for call in calls))
                service.stop(signal.SIGKILL)
                assert set(answers) == {UNAVAILABLE}
        written = [stored(database_url, call.caller) for call in calls]
        with served(**settings) as service, grpc.insecure_channel(service.address) as channel:
            for call, before in zip(calls, written, strict=True):
                answer = call.on(channel)
                assert contents(stored(database_url, call.caller)) == contents(before)
                assert_done_once(call, answer, channel, database_url)


def test_answer_that_was_lost_on_its_way_to_the_service_is_given_by_the_service_itself(database_url: str) -> None:
    with (
        before_postgres(database_url) as (proxy, url),
        serving(url) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        for mutation in TRIED:
            call, cuts = call_of(mutation, channel, str(uuid.uuid4())), proxy.cuts
            proxy.judge = at_commit(Fate.CUT_AFTER, call)
            answer = call.on(channel)
            assert proxy.cuts == cuts + 1
            if answer is UNAVAILABLE and mutation.method == "ImportContent":  # whose stream is read but once
                answer = call.on(channel)
            assert_done_once(call, answer, channel, database_url)


def test_error_of_a_repeat_is_not_told_while_it_is_unknown_what_it_repeats(database_url: str) -> None:
    with (
        before_postgres(database_url) as (proxy, url),
        serving(url) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        caller, request_id = Caller(channel, "acme"), uuid.uuid4()
        caller.records.create("a", {"n": 1})
        request = with_id(patching(caller, expected_version=1, **increment()), str(request_id))
        write = at_commit(Fate.CUT_AFTER, Call(EXPECTING, request, caller))

        def judge(way: Way, piece: bytes) -> Fate:
            if b"find_response" in piece:
                proxy.refusing = True
                return Fate.CUT
            return write(way, piece)

        proxy.judge = judge
        refusal = caller.refused("PatchContent", request)
        assert (refusal.code, refusal.reason) == (UNAVAILABLE, "DATABASE_UNAVAILABLE")
        assert "is unknown" in refusal.message
        proxy.judge, proxy.refusing = None, False
        assert caller.send("PatchContent", request).record.version == 2
        assert caller.records.content("a") == {"n": 2}
