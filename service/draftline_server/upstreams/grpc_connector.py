"""The connector to systems that implement `draftline.v1.UpstreamService`."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio
from draftline.upstreams import (
    BatchRefusedError,
    Capabilities,
    CollectionBinding,
    CursorExpiredError,
    Outcome,
    Page,
    Refused,
    RemoteRecord,
    ThrottledError,
    UnauthorizedError,
    Unknown,
    UnreachableError,
    WriteItem,
)
from draftline.v1 import upstream_pb2, upstream_pb2_grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from . import grpc_messages
from .definitions import Grpc, Signature, Tls
from .endpoints_file import ConfiguredEndpoint
from .field_mapping import FieldTranslator, UnmappableError
from .guard import Guard
from .http_auth import authenticator
from .http_client import HttpClient, without

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
CONNECT_TIMEOUT_S = 5.0
LOOKUP_SIZE = 1_000  # the limit of the contract
# C++, Python, Ruby and Go: "message larger than max (N vs. LIMIT)"; Java: "message exceeds maximum size LIMIT: N"
TOO_LARGE = re.compile(r"larger than max \(\d+ vs\. (\d+)\)|exceeds maximum size (\d+)")
Code = grpc.StatusCode
Response = TypeVar("Response")


class GrpcUpstream:
    """A system over gRPC, for one tenant. Implements `draftline.upstreams.Upstream`."""

    def __init__(
        self,
        endpoint: ConfiguredEndpoint,
        definition: Grpc,
        tenant_id: str,
        bindings: Sequence[CollectionBinding],
        guard: Guard | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._definition = definition
        guard = guard or Guard(endpoint.networks)
        if isinstance(self._definition.auth, Signature):
            raise ValueError("auth: webhook_signature is for http_json")  # noqa: TRY004  a value of the file
        self._tenant_id = tenant_id
        self._bindings = {each.collection: (each, FieldTranslator(each.fields)) for each in bindings}
        self._guard = guard
        self._token_client = HttpClient(endpoint, self._definition.tls or Tls(), guard)
        self._auth = authenticator(self._definition.auth, endpoint, self._token_client)
        self._channel: grpc.aio.Channel | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Close the channel."""
        await self._drop_channel()
        await self._token_client.close()

    async def describe(self, collection: str) -> Capabilities:
        """Return what the system claims."""
        request = upstream_pb2.DescribeRequest(**self._address(collection))
        return grpc_messages.capabilities(await self._read(lambda stub: stub.Describe, request))

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        """Write items. An item with a value that cannot be converted is refused, and not sent."""
        _, fields = self._bindings[collection]
        outcomes: list[Outcome] = [Unknown("the system returned no outcome")] * len(items)
        request = upstream_pb2.WriteRequest(**self._address(collection), atomic=atomic)
        sent = []
        for index, item in enumerate(items):
            try:
                request.items.append(grpc_messages.item_message(item, fields))
                sent.append(index)
            except UnmappableError as error:
                outcomes[index] = error.refused
        if not sent or (atomic and len(sent) < len(items)):
            aborted = Refused("ABORTED", "another item of the batch cannot be sent")
            return [each if isinstance(each, Refused) else aborted for each in outcomes]
        try:
            response = await self._call(lambda stub: stub.Write, request)
        except grpc.aio.AioRpcError as error:
            lost = self._write_error(error)
            return [lost if index in sent else each for index, each in enumerate(outcomes)]
        for index, message in zip(sent, response.outcomes, strict=False):
            outcomes[index] = _outcome(message, fields)
        return outcomes

    async def changes(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
        """Read changes."""
        request = upstream_pb2.ReadChangesRequest(**self._address(collection), cursor=cursor or "")
        async for page in self._pages(lambda stub: stub.ReadChanges, request, collection):
            yield page

    async def snapshot(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
        """Read a snapshot."""
        request = upstream_pb2.ReadSnapshotRequest(**self._address(collection), cursor=cursor or "")
        async for page in self._pages(lambda stub: stub.ReadSnapshot, request, collection):
            yield page

    async def lookup(self, collection: str, remote_ids: Sequence[str]) -> Sequence[RemoteRecord]:
        """Return the current state of records."""
        _, fields = self._bindings[collection]
        records: list[RemoteRecord] = []
        for start in range(0, len(remote_ids), LOOKUP_SIZE):
            ids = remote_ids[start : start + LOOKUP_SIZE]
            request = upstream_pb2.LookupRequest(**self._address(collection), remote_ids=ids)
            response = await self._read(lambda stub: stub.Lookup, request)
            if [each.remote_id for each in response.records] != list(ids):
                raise UnreachableError("Lookup returned other ids than were requested")
            records += [_record(each, fields) for each in response.records]
        return records

    def _address(self, collection: str) -> dict[str, Any]:
        binding, _ = self._bindings[collection]
        return {"tenant_id": self._tenant_id, "resource": binding.resource or collection}

    async def _call(self, method: Callable[[Any], Any], request: Any) -> Any:
        """Make a unary call, with another token if the first one is rejected. Raises UnreachableError if not sent."""
        for attempt in range(2):
            stub = await self._stub()
            metadata = await self._metadata()
            try:
                return await method(stub)(request, metadata=metadata, timeout=self._definition.timeout_s)
            except grpc.aio.AioRpcError as error:
                if attempt or error.code() is not Code.UNAUTHENTICATED or not self._auth.expire():
                    raise
        raise AssertionError("unreachable")

    async def _read(self, method: Callable[[Any], Any], request: Any) -> Any:
        try:
            return await self._call(method, request)
        except grpc.aio.AioRpcError as error:
            await self._raise_read_error(error)

    async def _pages(self, method: Callable[[Any], Any], request: Any, collection: str) -> AsyncIterator[Page]:
        _, fields = self._bindings[collection]
        stub = await self._stub()
        call = method(stub)(request, metadata=await self._metadata())
        try:
            while True:
                async with asyncio.timeout(self._definition.timeout_s):  # for each page
                    message = await call.read()
                if message is grpc.aio.EOF:
                    return
                yield _page(message.page, fields)
        except TimeoutError:
            raise UnreachableError(f"no page within {self._definition.timeout_s:g} s") from None
        except grpc.aio.AioRpcError as error:
            if error.code() is Code.UNAUTHENTICATED:
                self._auth.expire()
            await self._raise_read_error(error)
        finally:
            call.cancel()

    async def _metadata(self) -> tuple[tuple[str, str], ...]:
        return tuple((await self._auth.headers(str(uuid.uuid4()), b"")).items())

    async def _stub(self) -> Any:
        """Return a stub over a connected channel. Raise UnreachableError if there is no connection."""
        async with self._opening:
            if self._channel is None:
                self._channel = await self._open()
            channel = self._channel
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await _ready(channel)
            except (TimeoutError, ConnectionError):
                await self._drop_channel()  # so that the name is resolved again
                raise UnreachableError("cannot connect") from None
        return upstream_pb2_grpc.UpstreamServiceStub(channel)

    async def _open(self) -> grpc.aio.Channel:
        host, _, port = self._definition.address.rpartition(":")
        host = host.strip("[]")
        try:
            addresses = await self._guard.addresses(host, int(port))
        except OSError as error:
            raise UnreachableError(f"cannot connect: {error}") from None
        options = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.default_authority", self._definition.address),
        ]
        target = _target(addresses, port)
        tls = self._definition.tls
        if tls is None:
            return grpc.aio.insecure_channel(target, options)
        credentials = await asyncio.to_thread(_credentials, self._endpoint, tls)
        return grpc.aio.secure_channel(target, credentials, [*options[:-1], ("grpc.ssl_target_name_override", host)])

    async def _drop_channel(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _message(self, error: grpc.aio.AioRpcError) -> str:
        return without(f"{error.code().name}: {error.details() or ''}".rstrip(": "), self._auth.secrets())[:2000]

    def _write_error(self, error: grpc.aio.AioRpcError) -> Unknown:
        """Return the outcome of every item, or raise the error that says that nothing was applied."""
        match error.code():
            case Code.RESOURCE_EXHAUSTED if size_limit := _size_limit(error):
                if size_limit == MAX_MESSAGE_BYTES:  # that of this channel for the response: it may have been applied
                    return Unknown(self._message(error))
                raise BatchRefusedError(Refused("TOO_LARGE", self._message(error))) from None
            case Code.RESOURCE_EXHAUSTED:
                raise ThrottledError(self._message(error), retry_after_s(error)) from None
            case Code.UNAUTHENTICATED | Code.PERMISSION_DENIED:
                raise UnauthorizedError(self._message(error)) from None
            case Code.INVALID_ARGUMENT:
                raise BatchRefusedError(Refused(error.code().name, self._message(error))) from None
            case Code.UNIMPLEMENTED:
                raise UnreachableError(self._message(error)) from None
        return Unknown(self._message(error))

    async def _raise_read_error(self, error: grpc.aio.AioRpcError) -> NoReturn:
        match error.code():
            case Code.RESOURCE_EXHAUSTED if not _size_limit(error):
                raise ThrottledError(self._message(error), retry_after_s(error)) from None
            case Code.UNAUTHENTICATED | Code.PERMISSION_DENIED:
                raise UnauthorizedError(self._message(error)) from None
            case Code.OUT_OF_RANGE:
                raise CursorExpiredError(self._message(error)) from None
        raise UnreachableError(self._message(error)) from None


def retry_after_s(error: grpc.aio.AioRpcError) -> float | None:
    """Return the time to wait that a status contains, in seconds; None if it has none."""
    trailers: Mapping[str, Any] = {key.lower(): value for key, value in error.trailing_metadata() or ()}
    with suppress(KeyError, TypeError, ValueError):
        return max(float(trailers["retry-after"]), 0.0)
    with suppress(KeyError, TypeError, DecodeError):
        for detail in status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details:
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(retry):
                return max(float(retry.retry_delay.seconds) + float(retry.retry_delay.nanos) / 1e9, 0.0)
    return None


def _size_limit(error: grpc.aio.AioRpcError) -> int:
    """Return the limit of bytes that a message exceeded, as the libraries of gRPC report it; 0 for other errors."""
    found = TOO_LARGE.search(error.details() or "")
    return int(found[1] or found[2]) if found else 0


async def _ready(channel: grpc.aio.Channel) -> None:
    """Wait until a channel is connected. Raise ConnectionError if none of its addresses accepts."""
    state = channel.get_state(try_to_connect=True)
    while state is not grpc.ChannelConnectivity.READY:
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            raise ConnectionError
        await channel.wait_for_state_change(state)
        state = channel.get_state(try_to_connect=True)


def _target(addresses: Sequence[str], port: str) -> str:
    """Return the target of gRPC for addresses of one family: those of IPv4 if there are any."""
    four = [each for each in addresses if ":" not in each]
    if four:
        return "ipv4:" + ",".join(f"{each}:{port}" for each in four)
    return "ipv6:" + ",".join(f"[{each}]:{port}" for each in addresses)


def _credentials(endpoint: ConfiguredEndpoint, tls: Tls) -> grpc.ChannelCredentials:
    def pem(file: str) -> bytes | None:
        return endpoint.secrets[file].reveal().encode() if file else None

    return grpc.ssl_channel_credentials(pem(tls.ca_file), pem(tls.key_file), pem(tls.certificate_file))


Convert = Callable[[Any, FieldTranslator], Response]


def _checked(convert: Convert[Response]) -> Convert[Response]:
    """Return a conversion that raises UnreachableError if the system sent a document that is not valid JSON."""

    def converted(message: Any, fields: FieldTranslator) -> Response:
        try:
            return convert(message, fields)
        except ValueError as error:
            raise UnreachableError(f"the response is not valid: {error}") from None

    return converted


_page = _checked(grpc_messages.page)
_record = _checked(grpc_messages.record)


def _outcome(message: upstream_pb2.WriteOutcome, fields: FieldTranslator) -> Outcome:
    try:
        return grpc_messages.outcome(message, fields)
    except ValueError as error:
        return Unknown(f"the response is not valid: {error}")
