"""The interface between the I/O-free core and the clients: a method of the contract, and a call to send.

To add a method, add a `Method` and a function that builds its `Call` to the module of its
service, and a typed method to the asyncio client.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)
ResultT = TypeVar("ResultT")
OtherT = TypeVar("OtherT")


@dataclass(frozen=True)
class Method(Generic[RequestT, ResponseT, ResultT]):
    """One rpc: its name, its messages, and the parser of its response."""

    service: str
    name: str
    request: type[RequestT]
    response: type[ResponseT]
    parse: Callable[[ResponseT], ResultT]
    is_read: bool = False

    @property
    def path(self) -> str:
        return f"/draftline.v1.{self.service}/{self.name}"


@dataclass(frozen=True)
class Call(Generic[RequestT, ResponseT, ResultT]):
    """A method with the request to send, or with the first one of a stream of requests."""

    method: Method[RequestT, ResponseT, ResultT]
    request: RequestT

    @property
    def may_repeat(self) -> bool:
        """True if the call is safe to retry: it is a read, or a write with a request id.

        Without a request id, the effect of an attempt that got no response is unknown.
        """
        return self.method.is_read or bool(getattr(self.request, "request_id", ""))


def mapped(
    call: Call[RequestT, ResponseT, ResultT], convert: Callable[[ResultT], OtherT]
) -> Call[RequestT, ResponseT, OtherT]:
    """Return the call with another result, converted from its own."""
    it = call.method
    method = Method(
        it.service, it.name, it.request, it.response, lambda response: convert(it.parse(response)), it.is_read
    )
    return Call(method, call.request)


def next_page(
    call: Call[RequestT, ResponseT, ResultT], response: ResponseT
) -> Call[RequestT, ResponseT, ResultT] | None:
    """Return the call for the page after `response` (AIP-158). None: it was the last page."""
    page: Any = response  # only list responses have `next_page_token`
    if not page.next_page_token:
        return None
    request: Any = type(call.request)()
    request.CopyFrom(call.request)
    request.page_token = page.next_page_token
    return Call(call.method, request)
