"""A server with authentication, and calls of any rpc by its descriptor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from draftline.v1 import content_pb2
from draftline_server.rpc.server import SERVICES
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from support.responses import TIMEOUT_S, Refusal, refusal_of
from support.servers import RunningServer, serving
from support.tokens import RULES, SECRET, Issuer, key_file

METHODS = [method for service in SERVICES for method in service.methods]
OPERATOR_METHODS = {"ListTenants", "SetTenantQuotas"}  # of TenantService, for callers of all tenants
TENANT_METHODS = [method for method in METHODS if method.name not in OPERATOR_METHODS]
ISSUER = Issuer.of()


@dataclass(frozen=True)
class Guarded:
    running: RunningServer
    folder: Path
    channel: grpc.Channel

    def call(self, method: MethodDescriptor, token: str | None, *requests: Message | bytes) -> list[Any]:
        """Return the response of the rpc; of a stream, the first message."""
        return self.send(f"/{method.containing_service.full_name}/{method.name}", bearer(token), *requests)

    def send(self, path: str, metadata: tuple[tuple[str, str], ...], *requests: Message | bytes) -> list[Any]:
        sent = [each if isinstance(each, bytes) else each.SerializeToString() for each in requests]
        call = self.channel.stream_stream(path)(iter(sent), metadata=metadata, timeout=TIMEOUT_S)
        with suppress(StopIteration):
            try:
                return [next(call)]
            finally:
                call.cancel()
        return []

    def refusal(self, method: MethodDescriptor, token: str | None, *requests: Message | bytes) -> Refusal | None:
        """Return the error of the rpc, or None if it succeeds."""
        try:
            self.call(method, token, *requests)
        except grpc.RpcError as error:
            return refusal_of(error)
        return None


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None else (("authorization", f"Bearer {token}"),)


def request_of(method: MethodDescriptor, tenant_id: str) -> Message:
    """Return a request that has the tenant and may lack everything else."""
    if method.name == "ImportContent":
        header = content_pb2.ImportHeader(tenant_id=tenant_id, collection="films", mode=content_pb2.IMPORT_MODE_UPSERT)
        return content_pb2.ImportContentRequest(header=header)
    if method.name == "StreamPatches":
        return content_pb2.StreamPatchesRequest(items=[{"patch": {"tenant_id": tenant_id}}])
    made: Any = message_factory.GetMessageClass(method.input_type)()
    if method in TENANT_METHODS:
        made.tenant_id = tenant_id
    return made


def key_settings(folder: Path, *entries: str) -> dict[str, Any]:
    """Write a public key, a shared secret and service keys to files, and return the settings for them."""
    (folder / "secret").write_bytes(SECRET)
    (folder / "keys.json").write_text(f'{{"keys": [{", ".join(entries)}]}}')
    return {
        "auth_jwks": str(key_file(folder, ISSUER)),
        "auth_secret_file": folder / "secret",
        "auth_service_keys_file": folder / "keys.json",
        "auth_issuer": RULES.issuer,
        "auth_audience": RULES.audience,
    }


@contextmanager
def guarded(url: str, folder: Path, *entries: str, **settings: Any) -> Iterator[Guarded]:
    with (
        serving(url, **{**key_settings(folder, *entries), **settings}) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        yield Guarded(running, folder, channel)
