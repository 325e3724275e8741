"""Asks a running service how it is, by grpc.health.v1."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def state(address: str, service: str, timeout_s: float) -> str:
    """SERVING, NOT_SERVING, SERVICE_UNKNOWN or, where nothing answers in time, the status of the call."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
        except grpc.RpcError as failure:
            return str(failure.code().name)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
