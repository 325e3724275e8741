"""Request ids: a call sent again, or several times at once, happens once; an id belongs to one request of one user."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc
import pytest
from draftline.v1 import types_pb2
from draftline_server.rpc.server import SERVICES
from support import idempotent_calls
from support.idempotent_calls import AT_ONCE, Caller, Rows, alike, at_once, contents, text
from support.mutating_calls import (
    MUTATIONS,
    Mutation,
    batch,
    creating,
    importing,
    increment,
    nothing,
    patching,
    putting,
    shaped,
    with_id,
)
from support.responses import INVALID, content_of, struct

READS = ("Get", "BatchGet", "List", "Stream", "Watch")
SETS_VALUES = {"SetTenantQuotas"}  # a repetition changes nothing, with and without an id
NEEDS_CONFLICT = {"ResolveSync"}  # which only a worker makes: see test_sync.py
# The responses of these are built again from the record as it was; those of other methods are stored as they were sent.
OF_A_RECORD = ("CreateContent", "PatchContent", "DeleteContent", "UndeleteContent")
SHAPES = {"struct": (types_pb2.ENCODING_STRUCT, []), "fields": (types_pb2.ENCODING_JSON, ["one", "in"])}

Tenant = Callable[[], Caller]
Stored = Callable[[Caller], Rows]
each_mutation = pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
# The two servers differ in how they patch, and in nothing else.
each_way = pytest.mark.parametrize(
    ("server_name", "mutation"),
    [("server", each) for each in MUTATIONS]
    + [("replacing_server", each) for each in MUTATIONS if "PatchContent" in each.method],
    ids=str,
)
each_method = pytest.mark.parametrize("mutation", {each.method: each for each in MUTATIONS}.values(), ids=str)


@pytest.fixture(scope="module")
def channel(server: Any) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as opened:
        yield opened


@pytest.fixture
def tenant(channel: grpc.Channel) -> Tenant:
    """Return a function that makes callers, each of its own tenant."""
    return lambda: Caller(channel, f"tenant-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def caller(tenant: Tenant) -> Caller:
    return tenant()


@pytest.fixture
def request_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def stored(server: Any) -> Stored:
    return partial(idempotent_calls.stored, server.url)


def test_every_rpc_that_writes_is_tried() -> None:
    methods = {method.name: method.input_type for service in SERVICES for method in service.methods}
    writing = {name for name in methods if not name.startswith(READS)} - SETS_VALUES
    assert {mutation.method for mutation in MUTATIONS} == writing - NEEDS_CONFLICT
    for name in writing:
        header = methods[name].fields_by_name.get("header")
        head = header.message_type if header is not None else methods[name]
        assert "request_id" in head.fields_by_name, name
    assert not any("request_id" in methods[name].fields_by_name for name in set(methods) - writing)


@each_way
def test_call_with_an_id_happens_once(
    server_name: str, mutation: Mutation, request_id: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(server_name)
    stored = partial(idempotent_calls.stored, server.url)
    with grpc.insecure_channel(server.address) as channel:
        one, many = (Caller(channel, f"tenant-{uuid.uuid4().hex[:12]}") for _ in range(2))
        for caller in (one, many):
            mutation.prepare(caller)
        before = stored(one)
        sent = with_id(mutation.request(one), request_id)
        answer = one.send(mutation.method, sent)
        after = stored(one)
        assert (contents(after) != contents(before)) is mutation.writes
        written = [row for row in after["change"] if row not in before["change"] and row["kind"] != "DRAFT"]
        assert all(row["request_id"] == request_id for row in written)
        assert text(one.send(mutation.method, sent)) == text(answer)
        assert stored(one) == after

        sent = with_id(mutation.request(many), request_id)
        answers = at_once(lambda _: many.send(mutation.method, sent))
        assert {text(each) for each in answers} == {text(answers[0])}
        assert alike(stored(many)) == alike(after)
        assert text(many.send(mutation.method, sent)) == text(answers[0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mutation", [each for each in MUTATIONS if each.method in OF_A_RECORD], ids=str)
def test_repeat_is_answered_in_the_form_that_was_asked_for(
    mutation: Mutation, shape: str, request_id: str, caller: Caller
) -> None:
    mutation.prepare(caller)
    request = with_id(shaped(mutation.request(caller), *SHAPES[shape]), request_id)
    answer = caller.send(mutation.method, request)
    assert text(caller.send(mutation.method, request)) == text(answer)


@each_mutation
def test_id_of_another_request_is_refused(mutation: Mutation, request_id: str, tenant: Tenant, stored: Stored) -> None:
    # With what it needs, and without: then most fail by themselves.
    for prepare in (mutation.prepare, nothing):
        caller = tenant()
        prepare(caller)
        caller.send("PatchContent", with_id(patching(caller, "other", delta={}, allow_missing=True), request_id))
        before = stored(caller)
        refusal = caller.refused(mutation.method, with_id(mutation.request(caller), request_id))
        assert (refusal.code, refusal.reason, [*refusal.fields]) == (INVALID, "REQUEST_ID_REUSED", ["request_id"])
        assert refusal.metadata == {"request_id": request_id}
        assert stored(caller) == before


@each_method
def test_request_that_makes_no_sense_is_refused_for_its_id(
    mutation: Mutation, request_id: str, caller: Caller, stored: Stored
) -> None:
    mutation.prepare(caller)
    caller.send(mutation.method, with_id(mutation.request(caller), request_id))
    before = stored(caller)
    for senseless in (patching(caller), patching(caller, delta="{"), patching(caller, delta={}, condition="n =")):
        assert caller.refused("PatchContent", with_id(senseless, request_id)).reason == "REQUEST_ID_REUSED"
    assert stored(caller) == before


def test_of_other_requests_at_once_one_is_done(request_id: str, caller: Caller, stored: Stored) -> None:
    caller.records.create("a", {"n": 0})

    def send(place: int) -> str:
        request = with_id(patching(caller, **increment(place + 1)), request_id)
        try:
            return str(content_of(caller.send("PatchContent", request).record)["n"])
        except grpc.RpcError as error:
            return str(error.code().name)

    outcomes = sorted(at_once(send))
    assert outcomes[1:] == [INVALID.name] * (AT_ONCE - 1)
    assert caller.records.content("a") == {"n": int(outcomes[0])}
    assert len(stored(caller)["change"]) == 2


@each_method
def test_id_is_each_users_and_tenants_own(mutation: Mutation, request_id: str, tenant: Tenant, stored: Stored) -> None:
    one, other = tenant(), tenant()
    bob = Caller(one.channel, one.tenant_id, "bob")
    bob.send("PatchContent", with_id(patching(bob, "other", delta={}, allow_missing=True), request_id))
    for caller in (one, other):
        mutation.prepare(caller)
        caller.send(mutation.method, with_id(mutation.request(caller), request_id))
        kept = {row["user_id"] for row in stored(caller)["request"] if row["request_id"] == request_id}
        assert kept == ({"ada", "bob"} if caller is one else {"ada"})


WITHOUT_PREVIEW = (
    "ImportContent",
    "SaveDraft",
    "PutSync",
    "PauseSync",
    "ResumeSync",
    "RunSync",
    "RetrySync",
    "LinkRecord",
)
PREVIEWED = [each for each in MUTATIONS if each.method not in WITHOUT_PREVIEW]


@pytest.mark.parametrize("mutation", PREVIEWED, ids=str)
def test_preview_with_an_id_keeps_nothing(mutation: Mutation, request_id: str, caller: Caller, stored: Stored) -> None:
    mutation.prepare(caller)
    before = stored(caller)
    request = with_id(mutation.request(caller), request_id)
    request.validate_only = True
    for _ in range(2):
        caller.send(mutation.method, request)
        assert stored(caller) == before
    request.validate_only = False
    caller.send(mutation.method, request)
    assert [row["request_id"] for row in stored(caller)["request"]] == [request_id]


# What each fails for without what it needs.
FAILING = {
    "PatchContent: an increment": "RECORD_NOT_FOUND",
    "BatchPatchContent: all": "RECORD_NOT_FOUND",
    "DeleteContent: a record": "RECORD_NOT_FOUND",
    "UndeleteContent: a record": "RECORD_NOT_FOUND",
    "SaveDraft: a change": "RECORD_NOT_FOUND",
    "Commit: some": "DRAFT_NOT_FOUND",
    "Discard: some": "DRAFT_NOT_FOUND",
    "RevertChange: a change": "CHANGE_NOT_FOUND",
    "PutCollection: an expected version": "VERSION_MISMATCH",
}


@pytest.mark.parametrize("mutation", [each for each in MUTATIONS if str(each) in FAILING], ids=str)
def test_id_of_a_call_that_failed_can_be_sent_again(
    mutation: Mutation, request_id: str, caller: Caller, stored: Stored
) -> None:
    before = stored(caller)
    request = with_id(mutation.request(caller), request_id)
    for _ in range(2):
        assert caller.refused(mutation.method, request).reason == FAILING[str(mutation)]
    assert stored(caller) == before
    mutation.prepare(caller)
    answer = caller.send(mutation.method, request)
    assert text(caller.send(mutation.method, request)) == text(answer)


def test_failed_writes_of_contents_keep_nothing(caller: Caller, stored: Stored) -> None:
    calls = {"CreateContent": creating(caller), "ImportContent": importing(caller, [{"x": {}}, {"y": {"n": 1}}])}
    caller.send("PutCollection", putting(caller, json_schema='{"properties": {"n": {"maximum": 0}}}'))
    ids = {method: str(uuid.uuid4()) for method in calls}
    before = stored(caller)
    for method, request in calls.items():
        assert caller.refused(method, with_id(request, ids[method])).reason == "SCHEMA_VIOLATION"
    assert stored(caller) == before
    caller.send("PutCollection", putting(caller))
    for method, request in calls.items():
        caller.send(method, with_id(request, ids[method]))
    assert {row["record_id"] for row in stored(caller)["record"]} == {"new", "x", "y"}


@each_method
def test_id_that_is_no_uuid_is_refused(mutation: Mutation, caller: Caller, stored: Stored) -> None:
    mutation.prepare(caller)
    before = stored(caller)
    for wrong in ("x", "123", f"{{{uuid.uuid4()}}}", uuid.uuid4().hex, f"{uuid.uuid4()}\n", f"urn:uuid:{uuid.uuid4()}"):
        refusal = caller.refused(mutation.method, with_id(mutation.request(caller), wrong))
        assert (refusal.code, refusal.reason) == (INVALID, "INVALID_FIELD")
        (field,) = refusal.fields
        assert field == ("header.request_id" if mutation.method == "ImportContent" else "request_id")
        assert "UUID" in refusal.fields[field]
    assert stored(caller) == before


@each_method
def test_id_is_the_same_in_upper_and_lower_case(mutation: Mutation, request_id: str, caller: Caller) -> None:
    mutation.prepare(caller)
    request = mutation.request(caller)
    answer = caller.send(mutation.method, with_id(request, request_id.upper()))
    assert text(caller.send(mutation.method, with_id(request, request_id))) == text(answer)


def test_order_of_keys_makes_no_other_request(request_id: str, caller: Caller) -> None:
    names = [f"key {n}" for n in range(50)]
    contents = [struct({"in": dict.fromkeys(order, 1)}) for order in (names, names[::-1])]
    requests = [with_id(creating(caller), request_id) for _ in contents]
    for request, content in zip(requests, contents, strict=True):
        request.content.CopyFrom(content)
    answers = [caller.send("CreateContent", request) for request in requests]
    assert text(answers[0]) == text(answers[1])


def test_repeat_is_answered_as_it_was_whatever_came_later(request_id: str, caller: Caller) -> None:
    requests = {"CreateContent": creating(caller), "PutCollection": putting(caller, ["/n"])}
    ids = {method: str(uuid.uuid4()) for method in requests}
    answers = {method: caller.send(method, with_id(request, ids[method])) for method, request in requests.items()}
    caller.records.patch("new", {"n": 2})
    caller.records.delete("new")
    caller.send("PutCollection", putting(caller, ["/m"]))
    for method, request in requests.items():
        assert text(caller.send(method, with_id(request, ids[method]))) == text(answers[method])
    assert caller.records.get("new", show_deleted=True).version == 3


def test_import_that_would_fail_by_now_is_answered_as_before(request_id: str, caller: Caller, stored: Stored) -> None:
    request = with_id(importing(caller, [{"a": {"n": 9}}, {"b": {"n": 9}}, {"c": {"n": 9}}]), request_id)
    answer = caller.send("ImportContent", request)
    caller.send("PutCollection", putting(caller, json_schema='{"properties": {"n": {"maximum": 0}}}'))
    before = stored(caller)
    assert text(caller.send("ImportContent", request)) == text(answer)
    other = with_id(importing(caller, [{"a": {"n": 9}}, {"b": {"n": 9}}, {"c": {"n": 8}}]), request_id)
    assert caller.refused("ImportContent", other).reason == "REQUEST_ID_REUSED"
    assert stored(caller) == before


def test_large_answer_is_kept_whole_or_not_at_all(request_id: str, caller: Caller, stored: Stored) -> None:
    large = "x" * 1000 * 1000
    for name in "abcde":
        caller.records.create(name, {"n": 1, "t": large})
    before = stored(caller)
    too_large = with_id(batch(caller, dict.fromkeys("abcde", increment())), request_id)
    assert caller.refused("BatchPatchContent", too_large).reason == "ANSWER_TOO_LARGE"
    assert stored(caller) == before
    request = with_id(batch(caller, dict.fromkeys("abcd", increment())), request_id)
    answer = caller.send("BatchPatchContent", request)
    assert len(text(answer)) > 4 * len(large)
    assert text(caller.send("BatchPatchContent", request)) == text(answer)
