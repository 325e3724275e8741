"""A hostile caller, the responses it receives, and the valid calls of another caller at the same time."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
from draftline.v1 import content_pb2, content_pb2_grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from support.hostile_inputs import Case
from support.request_bytes import Place, good, name_of, with_bytes
from support.request_strategies import with_tenant

TENANT = "hostile"
HANG_S = 30.0
USUAL = 200  # good calls, to tell how long one takes

# What no request may be answered, whatever it says: a bug, a hang, a crash.
NEVER = {
    grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED,
}  # fmt: skip


@dataclass
class Outcomes:
    """The outcomes of the cases."""

    codes: Counter[grpc.StatusCode] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    bugs: list[str] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)  # the change reasons of requests that were answered OK
    slowest: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # good call, by what went on


class Hostile:
    """A hostile caller with a valid token."""

    def __init__(self, channel: Any, blocking: grpc.Channel, token: str, outcomes: Outcomes) -> None:
        self._channel = channel
        self._blocking = blocking
        self.token = token
        self.outcomes = outcomes
        self._numbers = itertools.count()

    def values(self, method: MethodDescriptor) -> dict[str, str]:
        """Fields of a good request, one of which marks whatever it writes."""
        number = next(self._numbers)
        values = {"tenant_id": TENANT, "change_reason": f"case-{number}", "record_id": f"m-{number % 20}"}
        if method.name == "CreateContent":
            values["record_id"] = f"new-{number}"
        if method.name == "PutCollection":
            values["collection"] = f"declared-{number % 4}"
        return values

    def messages(self, method: MethodDescriptor, place: Place | None = None, raw: bytes = b"") -> tuple[bytes, ...]:
        """A good request of an rpc, as bytes; `raw` at a place."""
        values = self.values(method)
        if not method.client_streaming:
            message = good(method.input_type, place.path if place else (), **values)
            return (with_bytes(message, place, raw) if place else message.SerializeToString(),)
        made = []
        for part in method.input_type.fields:
            message = good(method.input_type, (part, *(place.path if place else ())), **values)
            here = place is not None and place.path[0] is part
            made.append(with_bytes(message, place, raw) if place and here else message.SerializeToString())
        return tuple(made)

    def marked(self, method: MethodDescriptor, parts: list[Any]) -> tuple[bytes, ...]:
        """Messages, as bytes, of the tenant and with a mark; what is bytes already is left as it is."""
        made = []
        for part in parts:
            if not isinstance(part, bytes):
                head = getattr(part, "header", part)
                if hasattr(part, "items"):
                    with_tenant(part, TENANT)
                elif head is part or part.WhichOneof("part") == "header":
                    with_tenant(head, TENANT)
                    if hasattr(head, "change_reason"):
                        head.change_reason = self.values(method)["change_reason"]
                part = part.SerializeToString()  # noqa: PLW2901
            made.append(part)
        return tuple(made)

    async def send(self, case: Case) -> None:
        code, problem = grpc.StatusCode.OK, ""
        try:
            await self._call(case, case.metadata or (("authorization", f"Bearer {self.token}"),))
            self.outcomes.acknowledged |= set(_reasons(case))
        except grpc.RpcError as error:
            code = error.code()
            problem = f"{code.name} {error.details()!r}" if code in NEVER else _problem(error)
        self.outcomes.codes[code] += 1
        self.outcomes.kinds[case.kind] += 1
        if problem:
            sent = [message if len(message) < 300 else message[:300] + b"..." for message in case.messages]
            self.outcomes.bugs.append(f"{case.method.name}, {case.kind}: {problem[:500]} for {sent}")

    def _stream_writes(self, path: str, case: Case, options: dict[str, Any]) -> None:
        """Send the writes of a stream. Those whose outcome is OK are stored, even if the stream fails."""
        request_type, response_type = content_pb2.StreamPatchesRequest, content_pb2.StreamPatchesResponse
        reasons: list[str] = []

        def sent() -> Iterator[bytes]:
            for data in case.messages:
                with suppress(DecodeError):
                    for item in request_type.FromString(data).items:
                        reasons.append(getattr(item, item.WhichOneof("write") or "patch").change_reason)
                yield data

        call = self._blocking.stream_stream(path, response_deserializer=response_type.FromString)
        for response in call(sent(), **options):
            for result in response.results:
                code = next(each for each in grpc.StatusCode if each.value[0] == result.status.code)
                if code in NEVER:
                    self.outcomes.bugs.append(f"{case.kind}: a write ended with {code.name}: {result.status.message}")
                elif code is grpc.StatusCode.OK:
                    self.outcomes.acknowledged.add(reasons[result.index])

    async def _call(self, case: Case, metadata: Any) -> None:
        path, method = name_of(case.method), case.method
        options: dict[str, Any] = {"timeout": HANG_S, "metadata": metadata}
        if method.server_streaming and method.client_streaming:
            await asyncio.to_thread(self._stream_writes, path, case, options)
        elif method.server_streaming:
            call = self._channel.unary_stream(path)(b"".join(case.messages), **options)
            async for _ in call:
                if method.name == "WatchChanges":
                    break  # it goes on for ever
            call.cancel()
        elif method.client_streaming:
            # By a thread: grpc.aio answers INTERNAL by itself where the server ends a call that still sends.
            await asyncio.to_thread(self._blocking.stream_unary(path), iter(case.messages), **options)
        else:
            await self._channel.unary_unary(path)(b"".join(case.messages), **options)


def _problem(error: Any) -> str:
    """Return a defect of an error apart from its code, such as a missing reason; empty if there is none."""
    trailers: dict[str, Any] = dict(list(error.trailing_metadata() or ()))
    if "grpc-status-details-bin" not in trailers:
        return "" if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED else "without details"
    status, info = status_pb2.Status.FromString(trailers["grpc-status-details-bin"]), error_details_pb2.ErrorInfo()
    if not status.details or not status.details[0].Unpack(info) or info.domain != "draftline":
        return "without a reason"
    return ""


def _reasons(case: Case) -> Iterator[str]:
    request_type = message_factory.GetMessageClass(case.method.input_type)
    for data in case.messages if case.method.client_streaming else [b"".join(case.messages)]:
        message: Any = request_type.FromString(data)
        if not hasattr(message, "items"):  # their writes may fail, each by itself
            yield getattr(getattr(message, "header", message), "change_reason", "")


class Probe(threading.Thread):
    """Valid calls of another caller on its own connection, and the duration of each."""

    def __init__(self, address: str, token: str, outcomes: Outcomes) -> None:
        super().__init__(name="probe")
        self.kind = "nothing"
        self._address, self._token, self._outcomes = address, token, outcomes
        self._stopped = threading.Event()

    def run(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            while not self._stopped.wait(0.02):
                kind, took = self.kind, self.call(channel)
                self._outcomes.slowest[kind] = max(self._outcomes.slowest[kind], took)

    def median_s(self) -> float:
        """Return the median latency of some calls on a new connection."""
        with grpc.insecure_channel(self._address) as channel:
            return statistics.median(self.call(channel) for _ in range(USUAL))

    def call(self, channel: grpc.Channel) -> float:
        request = content_pb2.GetContentRequest(tenant_id=TENANT, collection="kept", record_id="kept")
        metadata = (("authorization", f"Bearer {self._token}"),)
        began = time.perf_counter()
        record = (
            content_pb2_grpc.ContentServiceStub(channel).GetContent(request, timeout=HANG_S, metadata=metadata).record
        )
        assert record.version == 1
        return time.perf_counter() - began

    def stop(self) -> None:
        self._stopped.set()
        self.join()
