"""Callers who waste what the transport allows: nobody else is kept waiting, and memory and log stay small."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from draftline.v1 import content_pb2, content_pb2_grpc, draft_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support import tokens
from support.http2_attacks import HEALTH_CHECK, Attacker, attacking
from support.load_process import OWN_CONNECTION
from support.polling import PATIENCE_S, until
from support.server_process import Served, served
from support.servers import cloned
from support.soak_scale import IS_SOAK, length
from support.tokens import RULES, secret_token

MIB = 1024 * 1024
FILL_S = length("FILL_S", 1.0, soak=20.0)
CONNECTIONS = length("SILENT_CONNECTIONS", 30, soak=60)
STREAMS = 100  # on each
RESETS_S = length("RESETS_S", 2.0, soak=20.0)
RESETS_PER_S = 4000
UNKNOWN = "UNAUTHENTICATED"
BOMB_BYTES = length("BOMB_BYTES", 64 * MIB, soak=1024 * MIB)  # when it is inflated
FORGED = length("FORGED", 500, soak=20_000)
PATCH = "/draftline.v1.ContentService/PatchContent"
MERGED = "/draftline.v1.DraftService/GetMerged"
UNREAD_BYTES = 32 * MIB
UNREAD_ROUNDS = length("UNREAD_ROUNDS", 6, soak=24)
Report = Callable[[str], None]


@pytest.fixture(scope="module")
def module_url(postgres_url: str, template: str) -> Iterator[str]:
    with cloned(postgres_url, template) as url:
        yield url


@pytest.fixture(scope="module")
def service(module_url: str) -> Iterator[Served]:
    with served(database_url=module_url) as running:
        yield running


@pytest.fixture(scope="module")
def guarded_service(module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    secret = tmp_path_factory.mktemp("keys") / "secret"
    secret.write_bytes(tokens.SECRET)
    with served(
        database_url=module_url,
        auth_secret_file=secret,
        auth_issuer=RULES.issuer,
        auth_audience=RULES.audience,
        access_log="all",
    ) as running:
        yield running


def metadata(tenant_id: str, scope: str = "content:read content:write") -> tuple[tuple[str, str], ...]:
    token = secret_token(tokens.SECRET, organization_ids=[tenant_id], scope=scope)
    return (("authorization", f"Bearer {token}"),)


def check_health(running: Served) -> float:
    """Ask for health on a connection of its own; how long that took, in seconds."""
    began = time.monotonic()
    with grpc.insecure_channel(running.address, OWN_CONNECTION) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    return time.monotonic() - began


class Memory:
    """The memory of the process, from when this is made."""

    def __init__(self, running: Served) -> None:
        self._folder = Path(f"/proc/{running.process.pid}")
        if not self._folder.exists():
            pytest.skip("the system does not tell")
        (self._folder / "clear_refs").write_text("5")  # from now on, the most is told anew (proc(5))
        self._before = self._told("VmRSS")

    def _told(self, name: str) -> int:
        found = re.search(rf"^{name}:\s+(\d+) kB$", (self._folder / "status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    @property
    def grown(self) -> int:
        """By how many bytes it was larger at the most."""
        return self._told("VmHWM") - self._before


@pytest.mark.parametrize(("count", "declared"), [(30, 15_900_000), (100, 15_900_000), (1, 1_500_000_000)])
@pytest.mark.parametrize(("path", "most"), [(HEALTH_CHECK, 64 * MIB), (PATCH, 400 * MIB)])
def test_unfinished_messages_do_not_fill_the_memory(
    service: Served, report: Report, path: str, most: int, count: int, declared: int
) -> None:
    check_health(service)
    memory = Memory(service)
    with attacking(service.address) as attacker:
        attacker.fill(attacker.open(path, count), declared, for_s=FILL_S)
        took_s = check_health(service)
    grown = memory.grown
    assert grown < most
    report(f"{count} unfinished messages of {declared:,} bytes to {path}: {attacker.sent_bytes / MIB:.0f} MiB were "
         f"sent, {grown / MIB:.0f} MiB of memory taken; health answered in {took_s * 1000:.0f} ms")  # fmt: skip


def test_unfinished_messages_of_many_connections_share_a_limit(service: Served, report: Report) -> None:
    check_health(service)
    memory = Memory(service)
    with ExitStack() as opened:
        attackers = [opened.enter_context(attacking(service.address)) for _ in range(10)]
        streams = [(attacker, attacker.open(HEALTH_CHECK, 10)) for attacker in attackers]
        until_s = time.monotonic() + FILL_S
        while time.monotonic() < until_s and not all(attacker.is_closed for attacker in attackers):
            for attacker, own in streams:
                attacker.fill(own, 15_900_000, for_s=0.1)
        check_health(service)
    grown = memory.grown
    assert grown < 96 * MIB
    report(f"100 unfinished messages on 10 connections: {sum(each.sent_bytes for each in attackers) / MIB:.0f} MiB "
         f"were sent, {grown / MIB:.0f} MiB of memory taken")  # fmt: skip


def test_large_messages_on_slow_connections_are_taken(service: Served) -> None:
    """Accept 8 messages of 1 MB at the same time, which take seconds to arrive: they are within the limits."""
    request = content_pb2.CreateContentRequest(tenant_id="acme", collection="films")
    request.content.json = f'{{"text": "{"x" * 1_000_000}"}}'
    data = request.SerializeToString()
    with attacking(service.address) as caller:
        streams = caller.open("/draftline.v1.ContentService/CreateContent", 8)
        caller.fill(streams, len(data), for_s=5.0)
        assert not caller.is_closed
        assert not caller.ended
    check_health(service)


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("path", [HEALTH_CHECK, PATCH])
def test_compressed_request_is_refused_before_it_is_inflated(
    service: Served, report: Report, path: str, algorithm: Any
) -> None:
    check_health(service)
    process, memory = psutil.Process(service.process.pid), Memory(service)
    used_s = sum(process.cpu_times()[:2])
    with grpc.insecure_channel(service.address, [("grpc.max_send_message_length", -1)]) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(path)(bytes(BOMB_BYTES), compression=algorithm, timeout=120)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        check_health(service)
    grown, used_s = memory.grown, sum(process.cpu_times()[:2]) - used_s
    assert grown < 16 * MIB
    report(f"a request that inflates to {BOMB_BYTES / MIB:.0f} MiB: {grown / MIB:.0f} MiB of memory, "
         f"{used_s:.2f} s of processor time")  # fmt: skip
    assert not [line for line in service.log if "Compression" in str(line)]


def test_calls_without_messages_lock_no_other_tenant_out(guarded_service: Served, report: Report) -> None:
    request, codes, slowest_s = (
        content_pb2.GetContentRequest(tenant_id="b", collection="c", record_id="x"),
        Counter(),
        0.0,
    )
    with ExitStack() as opened, grpc.insecure_channel(guarded_service.address) as channel:
        attackers: list[Attacker] = []
        for _ in range(CONNECTIONS):
            attackers.append(opened.enter_context(attacking(guarded_service.address)))
            attackers[-1].open(PATCH, STREAMS, metadata("a", scope=""))
        stub, own = content_pb2_grpc.ContentServiceStub(channel), metadata("b")
        for _ in range(200):
            began = time.monotonic()
            with pytest.raises(grpc.RpcError) as caught:  # there is no such record
                stub.GetContent(request, metadata=own, timeout=30)
            codes[caught.value.code().name] += 1
            slowest_s = max(slowest_s, time.monotonic() - began)
        for attacker in attackers:
            attacker.hear(0.1)
        open_calls = sum(STREAMS - len(attacker.ended) for attacker in attackers)
    assert codes == {"NOT_FOUND": 200}
    assert open_calls <= 1000
    report(f"{CONNECTIONS * STREAMS} calls without messages of one tenant, {open_calls} of them let in; 200 calls of "
         f"another were all answered, the slowest after {slowest_s * 1000:.0f} ms")  # fmt: skip


@pytest.mark.parametrize("path", [PATCH, HEALTH_CHECK])
def test_calls_that_are_taken_back_at_once_cost_their_connection(service: Served, report: Report, path: str) -> None:
    taken_back, connections, began = 0, 0, time.monotonic()

    def is_over() -> bool:
        """Return whether the time is over and a connection was closed, or none is closed for very long."""
        now = time.monotonic()
        return now > began + RESETS_S and (connections > 1 or now > began + RESETS_S + PATIENCE_S)

    while not is_over():
        connections += 1
        with attacking(service.address) as attacker:
            while not is_over() and not attacker.is_closed:
                attacker.take_back(attacker.open(path, 50))
                taken_back += 50
                attacker.hear(max(0.0, began + taken_back / RESETS_PER_S - time.monotonic()))
    took_s = check_health(service)
    assert connections > 1
    assert took_s < 5.0 or not IS_SOAK
    report(f"{taken_back} calls to {path} were taken back at once on {connections} connections in {RESETS_S:g} s; "
         f"health answered in {took_s * 1000:.0f} ms")  # fmt: skip


def test_forged_tokens_write_few_lines(guarded_service: Served, report: Report) -> None:
    with grpc.insecure_channel(guarded_service.address) as channel:
        call = channel.unary_unary("/draftline.v1.ContentService/GetContent")
        for number in range(FORGED):
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", metadata=(("authorization", f"Bearer forged-{number}"),), timeout=30)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    def lines() -> int:
        return len(
            [line for line in guarded_service.log if "authentication_failed" in str(line) or UNKNOWN in str(line)]
        )

    until(lambda: lines() > 0)
    assert lines() < FORGED / 2
    report(f"{FORGED} calls with forged tokens wrote {lines()} lines")


def test_answers_that_nobody_reads_are_bounded(module_url: str, report: Report) -> None:
    """A caller who reads nothing is refused further answers; gRPC would keep them for as long as he stays."""
    with (
        served(database_url=module_url, max_send_buffer_bytes=UNREAD_BYTES, access_log="none") as running,
        ExitStack() as opened,
        grpc.insecure_channel(running.address, OWN_CONNECTION) as channel,
    ):
        stub, create = content_pb2_grpc.ContentServiceStub(channel), content_pb2.CreateContentRequest()
        create.tenant_id, create.collection = "unread", "films"
        create.content.json = json.dumps({"text": "x" * 900_000})
        for _ in range(4):
            stub.CreateContent(create, timeout=30)
        request = draft_pb2.GetMergedRequest(tenant_id="unread", collection="films").SerializeToString()
        memory = Memory(running)
        attackers = [opened.enter_context(attacking(running.address, answer_window=0)) for _ in range(4)]
        for _ in range(UNREAD_ROUNDS):
            for attacker in attackers:
                attacker.ask(MERGED, request, 4)
            create.tenant_id = "other"
            stub.CreateContent(create, timeout=30)  # behind what was asked for
            for attacker in attackers:
                attacker.hear(0.2)
        took_s = check_health(running)
        ended, grown = sum(len(attacker.ended) for attacker in attackers), memory.grown
    assert ended
    assert grown < 250 * MIB
    report(f"{16 * UNREAD_ROUNDS} answers of 3.6 MB that nobody reads: {ended} were refused, {grown / MIB:.0f} MiB of "
         f"memory taken; health answered in {took_s * 1000:.0f} ms")  # fmt: skip
