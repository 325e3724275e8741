"""A tenant is answered as if it were alone, and so is a user among those who draft: whatever others do at the same
time, with the same ids, names, sessions and request ids.

What a caller is asked to show is the same, to the byte, in a database of his own and in one that he shares, but for
times and ids that are made up. So nothing shows there: no content and no count, no error and no token.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest
from draftline.v1 import change_pb2, draft_pb2  # noqa: F401  what errors carry must be known to be read
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2, status_pb2  # noqa: F401
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.authenticated_server import OPERATOR_METHODS, bearer
from support.request_bytes import METHODS, name_of
from support.request_strategies import UUID, messages, with_tenant
from support.responses import TIMEOUT_S
from support.servers import cloned, serving
from support.soak_scale import length
from support.tokens import RULES, SECRET, secret_token

BY_NAME = {method.name: method for method in METHODS}
EXAMPLES = length("ISOLATION_EXAMPLES", 12, soak=400)
MADE_UP = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIMES = {"createTime", "updateTime", "deleteTime", "modifyTime"}
TOKENS = {"nextPageToken", "resumeToken"}


@dataclass(frozen=True)
class Caller:
    """A user, who has the same name in whichever tenant; and the rpcs that he calls."""

    name: str
    tenant: str
    user: str
    methods: tuple[MethodDescriptor, ...] = tuple(each for each in METHODS if each.name not in OPERATOR_METHODS)


DRAFTING = (
    "SaveDraft",
    "Discard",
    "GetMerged",
    "StreamMerged",
    "GetContent",
    "ListChanges",
    "WatchChanges",
    "GetCollection",
)
ADA = Caller("ada", "acme", "ada")
BOB = Caller("bob", "acme", "bob", tuple(BY_NAME[name] for name in DRAFTING))  # whose drafts are never committed
EVE = Caller("eve", "umbrella", "ada")

Action = tuple[Caller, MethodDescriptor, list[Any]]


@st.composite
def actions(draw: st.DrawFn) -> Action:
    caller = draw(st.sampled_from([ADA, ADA, BOB, EVE]))
    method = draw(st.sampled_from(caller.methods))
    if not method.client_streaming:
        return caller, method, [draw(messages(method.input_type))]
    if "items" in method.input_type.fields_by_name:
        # One write in each: writes of several records are logged in any order.
        message = draw(messages(method.input_type))
        del message.items[1:]
        return caller, method, [message]
    make = message_factory.GetMessageClass(method.input_type)
    header, chunk = make(header=draw(messages(make.DESCRIPTOR.fields_by_name["header"].message_type))), make()
    for number in range(draw(st.integers(1, 3))):
        record = chunk.chunk.records.add(record_id=f"r{number + 1}")
        record.content.json = draw(st.sampled_from(['{"a": 1}', '{"a": {"b": 2}}', "{}"]))
    return caller, method, [header, chunk, make(end={"record_count": len(chunk.chunk.records)})]


@dataclass
class World:
    """A service, and tenants there that no example before this one knew."""

    channel: grpc.Channel
    number: int
    told: list[str] = field(default_factory=list)  # what ada was told
    leaks: list[str] = field(default_factory=list)
    made_up: dict[Caller, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    def act(self, place: int, action: Action) -> None:
        """Sends a request, and again with the token of the next page, twice."""
        caller, method, parts = action
        requests = [self.owned(part, caller, f"tag-{caller.name}-{place}") for part in parts]
        token = self.send(caller, method, requests)
        for _ in range(2):
            if token:
                self.misuse(caller, method, requests[0], token)
                requests[0].page_token = token
                token = self.send(caller, method, requests)

    def misuse(self, caller: Caller, method: MethodDescriptor, request: Any, token: str) -> None:
        """A token of one tenant is none of another, and is told from one that was made up by nothing."""
        other = ADA if caller is EVE else EVE
        copy = type(request)()
        copy.CopyFrom(request)
        copy.tenant_id, copy.page_token = self.tenant(other), token
        stolen = self.ask(other, method, [copy])
        copy.page_token = "made-up"
        if stolen != self.ask(other, method, [copy]):
            self.leaks.append(f"{other.name} goes on where {caller.name} was: {stolen}")

    def send(self, caller: Caller, method: MethodDescriptor, requests: list[Any]) -> str:
        """The token to go on with, if there is one."""
        told, token = self.ask(caller, method, requests)
        for other in (ADA, BOB, EVE):
            is_hidden = other.tenant != caller.tenant or (caller, other) == (ADA, BOB)
            if is_hidden and f"tag-{other.name}-" in told:
                self.leaks.append(f"{caller.name} sees {other.name}: {told}")
        if caller is ADA:
            self.told.append(f"{method.name} {told}")
        return token

    def ask(self, caller: Caller, method: MethodDescriptor, requests: list[Any]) -> tuple[str, str]:
        """Make a call and return its response as text, and the token of the next page."""
        answers, token = [], ""
        call = self.call(caller, method, *requests)
        try:
            for answer in call:
                answers.append(json_format.MessageToDict(answer))
                token = getattr(answer, "next_page_token", "")
                if method.name == "WatchChanges":
                    call.cancel()
                    break
        except grpc.RpcError as error:
            details = dict(error.trailing_metadata()).get("grpc-status-details-bin")
            status = status_pb2.Status.FromString(details) if details else status_pb2.Status(message=str(error))
            answers.append(json_format.MessageToDict(status))
        return self.plain(caller, answers), token

    def call(self, caller: Caller, method: MethodDescriptor, *requests: Any) -> Any:
        return self.channel.stream_stream(
            name_of(method), response_deserializer=message_factory.GetMessageClass(method.output_type).FromString
        )(
            iter([request.SerializeToString() for request in requests]),
            metadata=bearer(secret_token(sub=caller.user, organization_ids=[self.tenant(caller)])),
            timeout=TIMEOUT_S,
        )

    def token(self) -> str:
        """Return the token of a watch of ada's tenant that begins now."""
        watch = self.call(ADA, BY_NAME["WatchChanges"], change_pb2.WatchChangesRequest(tenant_id=self.tenant(ADA)))
        token: str = next(watch).resume_token
        watch.cancel()
        return token

    def changes(self, token: str) -> tuple[str, str]:
        """All of ada's tenant, as they are listed and as they are watched since a token."""
        tenant_id = self.tenant(ADA)
        listing = change_pb2.ListChangesRequest(tenant_id=tenant_id, order_by="create_time", page_size=1000)
        listed = list(next(self.call(ADA, BY_NAME["ListChanges"], listing)).changes)
        watch = self.call(
            ADA, BY_NAME["WatchChanges"], change_pb2.WatchChangesRequest(tenant_id=tenant_id, resume_token=token)
        )
        watched: list[Any] = []
        while len(watched) < len(listed):
            watched += next(watch).changes
        watch.cancel()
        plain = [self.plain(ADA, [json_format.MessageToDict(each) for each in found]) for found in (listed, watched)]
        return plain[0], plain[1]

    def tenant(self, caller: Caller) -> str:
        return f"{caller.tenant}-{self.number}"

    def owned(self, part: Any, caller: Caller, tag: str) -> Any:
        """A copy of a request in the caller's tenant, that marks what it writes."""
        copy = type(part)()
        copy.CopyFrom(part)
        if hasattr(copy, "tenant_id") or hasattr(copy, "items"):
            with_tenant(copy, self.tenant(caller))
        head = copy.header if hasattr(copy, "header") and copy.HasField("header") else copy
        if head is not copy:
            head.tenant_id = self.tenant(caller)
        if hasattr(head, "change_reason"):
            head.change_reason = tag
        for item in getattr(head, "items", ()):
            if item.WhichOneof("write"):
                getattr(item, item.WhichOneof("write")).change_reason = tag
        _mark(copy, tag)
        return copy

    def plain(self, caller: Caller, answers: Any) -> str:
        """The answers as text, without times and tokens; ids that were made up by the order in which they come."""
        known = self.made_up[caller]

        def numbered(found: re.Match[str]) -> str:
            return found[0] if found[0] == UUID else known.setdefault(found[0], f"id-{len(known)}")

        return MADE_UP.sub(numbered, json.dumps(_without(answers), ensure_ascii=False))


def _mark(message: Any, tag: str) -> None:
    """Adds a member to every document that is an object."""
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None or descriptor.message_type.GetOptions().map_entry:
            continue
        if descriptor.message_type.name == "Document":
            if value.json.startswith("{") and value.json.endswith("}") and value.json != "{}":
                value.json = f'{value.json[:-1]}, "tag": "{tag}"}}'
        elif descriptor.message_type.full_name.startswith("draftline."):
            for each in value if descriptor.is_repeated else [value]:
                _mark(each, tag)


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "…" if key in TIMES | TOKENS else _without(member) for key, member in value.items()}
    return [_without(item) for item in value] if isinstance(value, list) else value


@contextmanager
def service(postgres_url: str, template: str, folder: Path) -> Iterator[grpc.Channel]:
    """One on a database of its own, which knows callers."""
    (folder / "secret").write_bytes(SECRET)
    known = {"auth_secret_file": folder / "secret", "auth_issuer": RULES.issuer, "auth_audience": RULES.audience}
    with (
        cloned(postgres_url, template) as url,
        serving(url, **known) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        yield channel


@pytest.fixture(scope="module")
def services(
    postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[grpc.Channel]]:
    folder = tmp_path_factory.mktemp("keys")
    with ExitStack() as stack:
        yield [stack.enter_context(service(postgres_url, template, folder)) for _ in range(2)]


def test_everybody_is_answered_as_if_alone(services: list[grpc.Channel], report: Callable[[str], None]) -> None:
    numbers, told = count(), 0

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.lists(actions(), min_size=10, max_size=60))
    def check(taken: list[Action]) -> None:
        nonlocal told
        number = next(numbers)
        alone, shared = World(services[0], number), World(services[1], number)
        began = [world.token() for world in (alone, shared)]
        for place, action in enumerate(taken):
            if action[0] is ADA:
                alone.act(place, action)
            shared.act(place, action)
        assert not shared.leaks
        assert shared.told == alone.told
        told += len(shared.told)
        assert shared.changes(began[1]) == alone.changes(began[0])

    check()
    report(f"{told} answers to one user are the same whether others are there or not, in {next(numbers)} histories")
