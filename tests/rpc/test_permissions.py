"""Each rpc requires exactly its documented permissions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from draftline_server.auth.permissions import NEEDED, Permission
from draftline_server.rpc import handlers as pipeline
from draftline_server.rpc.server import SERVICES
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2
from support.authenticated_server import ISSUER, METHODS, TENANT_METHODS, Guarded, guarded, request_of
from support.servers import cloned

OPEN = {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
ALLOWED = {None, "INVALID_FIELD", "CHANGE_NOT_FOUND", "COLLECTION_NOT_FOUND"}


@pytest.fixture(scope="module")
def guarded_server(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with (
        cloned(postgres_url, template) as url,
        guarded(url, tmp_path_factory.mktemp("keys"), reflection=True) as server,
    ):
        yield server


def test_every_rpc_has_a_row_and_every_row_an_rpc() -> None:
    assert sorted(NEEDED) == sorted(method.full_name for method in METHODS)
    assert all(NEEDED.values())


def test_every_permission_is_needed_somewhere() -> None:
    of_requests = {Permission.DRAFT_ADMIN}  # needed by calls that name another user, see test_draft_admin.py
    assert frozenset().union(*NEEDED.values(), of_requests) == set(Permission)


def test_every_service_that_is_served_is_open_or_in_the_table(guarded_server: Guarded) -> None:
    ask = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    (answer,) = guarded_server.send("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", (), ask)
    listed = reflection_pb2.ServerReflectionResponse.FromString(answer).list_services_response.service
    assert {service.name for service in listed} == OPEN | {service.full_name for service in SERVICES}


def test_rpc_without_a_row_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    method = METHODS[0]
    monkeypatch.setattr(pipeline, "NEEDED", {name: row for name, row in NEEDED.items() if name != method.full_name})
    with pytest.raises(KeyError, match=method.name):
        pipeline.handlers(method.containing_service, _Servicer(), SimpleNamespace(telemetry=None))


class _Servicer:
    def __getattr__(self, name: str) -> Any:
        return None


@pytest.mark.parametrize("method", TENANT_METHODS, ids=lambda method: method.name)
def test_rpc_is_allowed_by_exactly_what_it_needs(guarded_server: Guarded, method: MethodDescriptor) -> None:
    needed = NEEDED[method.full_name]
    request = request_of(method, "acme")
    refusal = guarded_server.refusal(method, ISSUER.token(scope=" ".join(needed)), request)
    assert (refusal.reason if refusal else None) in ALLOWED
    for missing in needed:
        rest = " ".join(set(Permission) - {missing})
        denied = guarded_server.refusal(method, ISSUER.token(scope=rest), request)
        assert denied is not None
        assert (denied.code, denied.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
        assert denied.message == f"this call needs {missing}"
        assert denied.metadata == {"needed": " ".join(sorted(needed))}


@pytest.mark.parametrize("method", TENANT_METHODS, ids=lambda method: method.name)
def test_permission_in_one_tenant_is_none_in_another(guarded_server: Guarded, method: MethodDescriptor) -> None:
    grants = {"acme": " ".join(Permission), "umbrella": ""}
    token = ISSUER.token(organization_ids=grants, scope=" ".join(Permission))
    allowed = guarded_server.refusal(method, token, request_of(method, "acme"))
    denied = guarded_server.refusal(method, token, request_of(method, "umbrella"))
    assert (allowed.reason if allowed else None) in ALLOWED
    assert denied is not None
    assert denied.reason == "PERMISSION_DENIED"


@pytest.mark.parametrize("method", TENANT_METHODS, ids=lambda method: method.name)
def test_token_without_scopes_allows_nothing(guarded_server: Guarded, method: MethodDescriptor) -> None:
    denied = guarded_server.refusal(method, ISSUER.token(scope=None), request_of(method, "acme"))
    assert denied is not None
    assert denied.reason == "PERMISSION_DENIED"


def test_table_in_the_documentation_is_that_of_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    rows = re.findall(r"^\| `(\w+:\w+)` \| (.*) \|$", text, re.MULTILINE)
    shown = {permission: set(re.findall(r"`(\w+)`", rpcs)) for permission, rpcs in rows}
    assert shown == {
        permission: {method.name for method in METHODS if permission in NEEDED[method.full_name]}
        for permission in Permission
    }
