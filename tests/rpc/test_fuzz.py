"""Nothing that a client can send is answered UNKNOWN or INTERNAL."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from draftline_server.rpc.server import SERVICES
from google.protobuf.descriptor import MethodDescriptor
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from support.request_strategies import damaged, messages, with_tenant
from support.responses import TIMEOUT_S
from support.soak_scale import examples

pytestmark = pytest.mark.soak

UNARY: list[MethodDescriptor] = [
    method
    for service in SERVICES
    for method in service.methods
    if not (method.client_streaming or method.server_streaming)
]
BUGS = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED)
FAST = settings(
    max_examples=examples(200),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
ROUNDS = 40  # maximum, each of other messages


def answered(channel: grpc.Channel, method: MethodDescriptor, data: bytes) -> grpc.StatusCode:
    call = channel.unary_unary(f"/{method.containing_service.full_name}/{method.name}")
    try:
        call(data, timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        if error.code() in BUGS:
            pytest.fail(f"{error.code()}: {error.details()}")
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("method", UNARY, ids=lambda method: method.name)
def test_random_bytes_are_never_answered_as_a_bug(grpc_channel: grpc.Channel, method: MethodDescriptor) -> None:
    @settings(FAST, max_examples=examples(60))
    @given(st.binary(max_size=100) | damaged(method.input_type))
    def check(data: bytes) -> None:
        answered(grpc_channel, method, data)

    check()


@pytest.mark.parametrize("method", UNARY, ids=lambda method: method.name)
def test_nearly_right_requests_are_never_answered_as_a_bug(
    grpc_channel: grpc.Channel, tenant_id: str, method: MethodDescriptor
) -> None:
    codes = set()

    @FAST
    @given(messages(method.input_type))
    def check(message: Any) -> None:
        codes.add(answered(grpc_channel, method, with_tenant(message, tenant_id).SerializeToString()))

    for number in range(ROUNDS):  # until some get past the checks of the request alone
        seed(number)(check)()
        if len(codes) > 1:
            break
    assert grpc.StatusCode.INVALID_ARGUMENT in codes
    assert len(codes) > 1
