"""What the core hands to a client: a method of the contract, and a call of it that is ready to send.

A new method is one `Method` and one function that builds its `Call`, in the module of
its service, and one short typed method in each of the two clients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Method(Generic[RequestT, ResponseT, ResultT]):
    """One rpc: its name, its messages, and what its response means."""

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
    """A method with the request to send. For a stream of requests, the first of them."""

    method: Method[RequestT, ResponseT, ResultT]
    request: RequestT

    @property
    def may_repeat(self) -> bool:
        """Whether it does no harm to send it twice: it writes nothing, or once only, by its request id.

        Without one, nobody knows what an attempt did that got no answer.
        """
        return self.method.is_read or bool(getattr(self.request, "request_id", ""))


def next_page(
    call: Call[RequestT, ResponseT, ResultT], response: ResponseT
) -> Call[RequestT, ResponseT, ResultT] | None:
    """The call of the page after `response` (AIP-158). None: that was the last."""
    page: Any = response  # the messages of lists alone have these fields
    if not page.next_page_token:
        return None
    request: Any = type(call.request)()
    request.CopyFrom(call.request)
    request.page_token = page.next_page_token
    return Call(call.method, request)
