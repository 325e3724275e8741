"""Calls with a request id: sent again, or several times at once, they happen once and are answered the same."""

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
from support.idempotent_calls import Caller, Rows, alike, at_once, contents, text
from support.mutating_calls import MUTATIONS, Mutation, shaped, with_id

READS = ("Get", "List", "Stream", "Watch")
# What these were answered is made anew of the record as it was; the others' answers are kept as they were sent.
OF_A_RECORD = ("CreateContent", "PatchContent", "DeleteContent", "UndeleteContent")
SHAPES = {"struct": (types_pb2.ENCODING_STRUCT, []), "fields": (types_pb2.ENCODING_JSON, ["one", "in"])}

Tenant = Callable[[], Caller]
Stored = Callable[[Caller], Rows]
each_mutation = pytest.mark.parametrize("mutation", MUTATIONS, ids=str)


@pytest.fixture(scope="module")
def channel(patching_server: Any) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(patching_server.address) as opened:
        yield opened


@pytest.fixture
def tenant(channel: grpc.Channel) -> Tenant:
    """Makes callers, each of a tenant of its own."""
    return lambda: Caller(channel, f"tenant-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def caller(tenant: Tenant) -> Caller:
    return tenant()


@pytest.fixture
def request_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def stored(patching_server: Any) -> Stored:
    return partial(idempotent_calls.stored, patching_server.url)


def test_every_rpc_that_writes_is_tried() -> None:
    methods = {method.name: method.input_type for service in SERVICES for method in service.methods}
    writing = {name for name in methods if not name.startswith(READS)}
    assert {mutation.method for mutation in MUTATIONS} == writing
    for name in writing:
        header = methods[name].fields_by_name.get("header")
        head = header.message_type if header is not None else methods[name]
        assert "request_id" in head.fields_by_name, name
    assert not any("request_id" in methods[name].fields_by_name for name in set(methods) - writing)


@each_mutation
def test_call_with_an_id_happens_once(mutation: Mutation, request_id: str, tenant: Tenant, stored: Stored) -> None:
    one, many = tenant(), tenant()
    for caller in (one, many):
        mutation.prepare(caller)
    before = stored(one)
    request = with_id(mutation.request(one), request_id)
    answer = one.send(mutation.method, request)
    after = stored(one)
    assert (contents(after) != contents(before)) is mutation.writes
    written = [row for row in after["change"] if row not in before["change"] and row["kind"] != "DRAFT"]
    assert all(row["request_id"] == request_id for row in written)
    assert text(one.send(mutation.method, request)) == text(answer)
    assert stored(one) == after

    request = with_id(mutation.request(many), request_id)
    answers = at_once(lambda _: many.send(mutation.method, request))
    assert {text(each) for each in answers} == {text(answers[0])}
    assert alike(stored(many)) == alike(after)
    assert text(many.send(mutation.method, request)) == text(answers[0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mutation", [each for each in MUTATIONS if each.method in OF_A_RECORD], ids=str)
def test_repeat_is_answered_in_the_form_that_was_asked_for(
    mutation: Mutation, shape: str, request_id: str, caller: Caller
) -> None:
    mutation.prepare(caller)
    request = with_id(shaped(mutation.request(caller), *SHAPES[shape]), request_id)
    answer = caller.send(mutation.method, request)
    assert text(caller.send(mutation.method, request)) == text(answer)
