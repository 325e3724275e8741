"""Content goes to those alone who may read it, whatever the rpc, its flags, and its errors."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from itertools import product
from typing import Any

import grpc
import pytest
from draftline.v1 import draft_pb2
from draftline_server.auth.permissions import NEEDED, Permission, shows_content
from draftline_server.rpc.status import DETAILS_KEY
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.rpc import status_pb2
from support.authenticated_server import ISSUER, METHODS, Guarded, guarded
from support.servers import cloned

CONTENT = {"draftline.v1.Document", "draftline.v1.JsonValue"}
SECRET = "what only readers may know"
FLAGS = ("validate_only", "include_content", "allow_partial", "allow_missing", "show_deleted")
WHERE = {"tenant_id": "acme", "collection": "films"}
ADMIN = ISSUER.token(scope=" ".join(Permission))
ALL = {"all": True}

# A request of each rpc that could answer content to a caller who may not read; a record `r` holds the secret.
PATCH = {**WHERE, "record_id": "r", "delta": {"json": '{"mine": 1}'}}
REQUESTS: dict[str, list[dict[str, Any]]] = {
    "CreateContent": [{**WHERE, "record_id": "new", "content": {"json": "{}"}}],
    "PatchContent": [PATCH, {**PATCH, "delta": {"json": '{"checked": "x"}'}}],
    "BatchPatchContent": [{"tenant_id": "acme", "requests": [PATCH]}],
    "StreamPatches": [{"items": [{"patch": PATCH}, {"delete": {**WHERE, "record_id": "r"}}]}],
    "DeleteContent": [{**WHERE, "record_id": "r"}],
    "UndeleteContent": [{**WHERE, "record_id": "gone"}],
    "Commit": [{**WHERE, **ALL}, {**WHERE, **ALL, "conflict_policy": 2}, {**WHERE, **ALL, "conflict_policy": 3}],
    "Discard": [{**WHERE, **ALL}],
    "RevertChange": [
        {
            "tenant_id": "acme",
            "change": {"collection": "films", "record_id": "r", "version": 2},
            "conflict_policy": each,
        }
        for each in (0, 2, 3)
    ],
}


def holds_content(kind: Descriptor, seen: frozenset[str] = frozenset()) -> bool:
    return kind.full_name not in seen and any(
        field.message_type is not None
        and (field.message_type.full_name in CONTENT or holds_content(field.message_type, seen | {kind.full_name}))
        for field in kind.fields
    )


WRITERS = [
    method for method in METHODS
    if not shows_content(NEEDED[method.full_name]) and holds_content(method.output_type)
]  # fmt: skip


def cases() -> Iterator[Any]:
    for method in WRITERS:
        flags = [flag for flag in FLAGS if flag in method.input_type.fields_by_name]
        for request in REQUESTS.get(method.name, []):
            for values in product((False, True), repeat=len(flags)):
                chosen = {flag: True for flag, value in zip(flags, values, strict=True) if value}
                yield pytest.param(method, {**request, **chosen}, id=f"{method.name}-{'-'.join(chosen)}")


@pytest.fixture(scope="module")
def acme(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with cloned(postgres_url, template) as url, guarded(url, tmp_path_factory.mktemp("keys")) as server:
        yield server


def call(server: Guarded, name: str, request: dict[str, Any], token: str = ADMIN) -> Any:
    (method,) = (each for each in METHODS if each.name == name)
    message = message_factory.GetMessageClass(method.input_type)(**request)
    (answer,) = server.call(method, token, message)
    return message_factory.GetMessageClass(method.output_type).FromString(answer)


def code_of(server: Guarded, method: MethodDescriptor, token: str, message: Any) -> grpc.StatusCode:
    try:
        server.call(method, token, message)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.fixture
def arranged(acme: Guarded) -> Guarded:
    """A record that was changed twice and drafted in between, a deleted one, and a schema that quotes values."""
    schema = json.dumps({"properties": {"checked": {"type": "number"}}})
    call(acme, "PutCollection", {**WHERE, "json_schema": schema, "validate_only": False})
    for record_id in ("r", "gone"):
        content = {"json": json.dumps({"secret": SECRET, "n": 0})}
        request = {**WHERE, "record_id": record_id, "delta": content, "strategy": 4, "allow_missing": True}
        try:
            call(acme, "PatchContent", request)
        except grpc.RpcError:
            call(acme, "UndeleteContent", {**WHERE, "record_id": record_id})
            call(acme, "PatchContent", request)
    call(acme, "Discard", {**WHERE, **ALL})
    call(acme, "SaveDraft", {**WHERE, "edits": [{"record_id": "r", "delta": {"json": '{"n": "mine"}'}}]})
    for n in (1, 2):
        call(acme, "PatchContent", {**PATCH, "delta": {"json": json.dumps({"n": f"{SECRET} {n}"})}})
    call(acme, "DeleteContent", {**WHERE, "record_id": "gone"})
    return acme


def test_every_rpc_that_could_answer_content_to_a_writer_is_tried() -> None:
    assert {method.name for method in WRITERS} == set(REQUESTS)


@pytest.mark.parametrize(("method", "request_"), list(cases()))
def test_writer_who_may_not_read_is_answered_no_content(
    arranged: Guarded, method: MethodDescriptor, request_: dict[str, Any]
) -> None:
    needed = NEEDED[method.full_name]
    message = message_factory.GetMessageClass(method.input_type)(**request_)
    if method.name == "RevertChange":
        message.change.version = call(arranged, "GetContent", {**WHERE, "record_id": "r"}).record.version - 1
    try:
        (answer,) = arranged.call(method, ISSUER.token(scope=" ".join(needed)), message)
    except grpc.RpcError as error:
        answer = dict(error.trailing_metadata())[DETAILS_KEY]
        status = status_pb2.Status.FromString(answer)
        denied = error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert not denied or status.message == "this call needs content:read"
        conflict = draft_pb2.Conflict()
        for detail in status.details:
            if detail.Unpack(conflict):
                assert not any(conflict.HasField(name) for name in ("base", "mine", "theirs"))
    assert SECRET.encode() not in answer
    reader = ISSUER.token(scope=" ".join({*needed, Permission.CONTENT_READ}))
    assert code_of(arranged, method, reader, message) is not grpc.StatusCode.PERMISSION_DENIED


def test_answer_that_is_kept_is_withheld_when_it_is_sent_again(arranged: Guarded) -> None:
    (method,) = (each for each in METHODS if each.name == "PatchContent")
    message = message_factory.GetMessageClass(method.input_type)(**PATCH, request_id=str(uuid.uuid4()))
    (full,) = arranged.call(method, ADMIN, message)
    (again,) = arranged.call(method, ISSUER.token(scope="content:write"), message)
    assert SECRET.encode() in full
    assert SECRET.encode() not in again


def test_schema_violation_does_not_quote_the_record_to_a_writer(arranged: Guarded) -> None:
    call(arranged, "PatchContent", {**PATCH, "delta": {"json": json.dumps({"loose": SECRET})}})
    schema = json.dumps({"properties": {"loose": {"type": "number"}}})
    call(arranged, "PutCollection", {**WHERE, "json_schema": schema})
    try:
        (patch, batch) = (each for each in METHODS if each.name in ("PatchContent", "BatchPatchContent"))
        writer = ISSUER.token(scope="content:write")
        refusal = arranged.refusal(patch, writer, message_factory.GetMessageClass(patch.input_type)(**PATCH))
        assert refusal is not None
        assert (refusal.reason, refusal.metadata) == ("SCHEMA_VIOLATION", {"path": "/loose"})
        assert SECRET not in refusal.message
        partial = {"tenant_id": "acme", "requests": [PATCH], "allow_partial": True}
        (answer,) = arranged.call(batch, writer, message_factory.GetMessageClass(batch.input_type)(**partial))
        assert b"/loose" in answer
        assert SECRET.encode() not in answer
    finally:
        call(arranged, "PatchContent", {**PATCH, "delta": {"json": '{"loose": 1}'}})


@pytest.mark.parametrize("condition", ["secre = 1", "NOT secre = 1"], ids=["fails", "holds"])
def test_condition_suggests_no_name_of_the_content_to_a_writer(arranged: Guarded, condition: str) -> None:
    (patch, batch) = (each for each in METHODS if each.name in ("PatchContent", "BatchPatchContent"))
    one = message_factory.GetMessageClass(patch.input_type)(**PATCH, condition=condition)
    several = {"tenant_id": "acme", "requests": [{**PATCH, "condition": condition}], "allow_partial": True}
    many = message_factory.GetMessageClass(batch.input_type)(**several)
    for token, is_suggested in ((ISSUER.token(scope="content:write"), False), (ADMIN, True)):
        refusal = arranged.refusal(patch, token, one)
        if refusal is None:
            (answer,) = arranged.call(patch, token, one)
            assert (b"did you mean secret" in answer) is is_suggested
        else:
            assert ("did you mean secret" in refusal.message) is is_suggested
        (answer,) = arranged.call(batch, token, many)
        assert (b"did you mean secret" in answer) is is_suggested
