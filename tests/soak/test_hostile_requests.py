"""Whatever is sent to it, the service answers, stores all of it or nothing, and goes on as before.

At least CASES calls: from WHOLE on the whole corpus among them, and of fewer a part of it for some methods. The rest is
made at random.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support import tokens
from support.hostile_caller import TENANT, Hostile, Outcomes, Probe
from support.hostile_inputs import Case, all_texts, cut_cases, field_cases, large_cases, metadata_cases
from support.request_bytes import METHODS, good
from support.request_strategies import damaged, messages
from support.server_process import Served, invoked, served
from support.soak_scale import length

WHOLE = 24_000
CASES = length("HOSTILE_CASES", 150, soak=WHOLE)
AT_ONCE = 48
TRIED = METHODS if CASES >= WHOLE else METHODS[::8]  # with the whole corpus; requests at random are of all methods
SLOW_S = 5.0  # the longest that a good call may take beside hostile ones; the test prints how long it took
GROWTH = 64 * 1024  # kB of memory that the server may grow by once it has been through all of it
TOGETHER = 12  # requests made at random that are sent together


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[Served]:
    """A process of its own, which knows callers."""
    (tmp_path / "secret").write_bytes(tokens.SECRET)
    with served(
        database_url=database_url,
        auth_secret_file=tmp_path / "secret",
        auth_issuer=tokens.RULES.issuer,
        auth_audience=tokens.RULES.audience,
    ) as running:
        yield running


def token() -> str:
    """Return the token of a caller in the tenant, and in every tenant whose name is a hostile text."""
    named = {text for text in all_texts() if 0 < len(text) <= 20}
    return tokens.secret_token(organization_ids=[TENANT, *sorted(named)], exp=tokens.In(3_000))


async def test_nothing_that_is_sent_is_answered_as_a_bug(
    service: Served, database_url: str, report: Callable[[str], None]
) -> None:
    outcomes, caller = Outcomes(), token()
    with grpc.insecure_channel(service.address, OPTIONS) as blocking:
        async with grpc.aio.insecure_channel(service.address, OPTIONS) as channel:
            hostile = Hostile(channel, blocking, caller, outcomes)
            await prepare(hostile)
            probe = Probe(service.address, caller, outcomes)
            usual = await asyncio.to_thread(probe.median_s)
            probe.start()
            try:
                memory, began = [memory_kb(service)], time.perf_counter()
                every = max(1, WHOLE // CASES * len(TRIED) // len(METHODS))
                for start in (0, every):  # both have a bit of everything
                    cases = itertools.islice(corpus(hostile), start, None, 2 * every)
                    await send_all(hostile, cases, probe)
                    memory.append(memory_kb(service))
                await send_at_random(hostile, max(4 * TOGETHER, CASES - outcomes.kinds.total()), probe)
                memory.append(memory_kb(service))
                took = time.perf_counter() - began
            finally:
                probe.stop()
            after = await asyncio.to_thread(probe.median_s)
    report(f"{outcomes.kinds.total()} cases in {took:.0f} s: { {code.name: n for code, n in outcomes.codes.items()} }")
    report(f"by kind: {dict(outcomes.kinds)}")
    report(f"memory in kB, before, after each half of the corpus, and after all: {memory}")
    slowest = {kind: round(took_s, 3) for kind, took_s in outcomes.slowest.items()}
    report(f"a good call takes {1e3 * usual:.1f} ms before, {1e3 * after:.1f} ms after, at most in s beside: {slowest}")
    assert not outcomes.bugs, "\n".join([f"{len(outcomes.bugs)} bugs:", *outcomes.bugs[:20]])
    assert service.process.poll() is None
    assert outcomes.kinds.total() >= CASES
    assert max(after, *outcomes.slowest.values()) < SLOW_S
    assert memory[-1] - memory[1] < GROWTH
    assert outcomes.codes[grpc.StatusCode.OK] > CASES // 20  # some get as far as the tables
    await check_stored(database_url, outcomes)
    assert (await asyncio.to_thread(invoked, "check", database_url=database_url)).returncode == 0


OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


async def prepare(hostile: Hostile) -> None:
    """Records for the requests to meet, and one that none of them does."""
    by_name = {method.name: method for method in METHODS}
    common = {"tenant_id": TENANT, "change_reason": "prepared"}
    for number in range(20):
        for name in ("PatchContent", "SaveDraft"):
            method = by_name[name]
            message = good(method.input_type, **common, record_id=f"m-{number}", allow_missing=True)
            await hostile.send(Case("prepared", method, (message.SerializeToString(),)))
    kept = good(by_name["CreateContent"].input_type, **common, collection="kept", record_id="kept")
    await hostile.send(Case("prepared", by_name["CreateContent"], (kept.SerializeToString(),)))


def corpus(hostile: Hostile) -> Iterator[Case]:
    for method in TRIED:
        marked = partial(hostile.messages, method)
        yield Case("good", method, marked())
        yield from field_cases(method, marked)
        yield from large_cases(method, marked)
        yield from cut_cases(method, marked())
        yield from metadata_cases(method, marked(), hostile.token)


async def send_all(hostile: Hostile, cases: Iterable[Case], probe: Probe) -> None:
    """Many at once, but for large ones; each kind is over before the next begins."""
    for kind, same in itertools.groupby(cases, key=lambda case: case.kind):
        probe.kind = kind
        waiting: set[asyncio.Task[None]] = set()
        for case in same:
            waiting.add(asyncio.create_task(hostile.send(case)))
            if len(waiting) >= (2 if case.is_large or case.method.client_streaming else AT_ONCE):
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.gather(*done)
        await asyncio.gather(*waiting)


async def send_at_random(hostile: Hostile, count: int, probe: Probe) -> None:
    """Requests that are nearly right, some of them damaged, until there are as many."""
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=max(1, count // TOGETHER + 1),
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.sampled_from(METHODS).flatmap(request_of), min_size=TOGETHER, max_size=TOGETHER))
    def check(requests: list[tuple[MethodDescriptor, list[Any]]]) -> None:
        cases = [Case("at random", method, hostile.marked(method, parts)) for method, parts in requests]
        asyncio.run_coroutine_threadsafe(send_all(hostile, cases, probe), loop).result()
        assert not hostile.outcomes.bugs

    if count > 0:
        await asyncio.to_thread(check)


def request_of(method: MethodDescriptor) -> st.SearchStrategy[tuple[MethodDescriptor, list[Any]]]:
    """An rpc, and what to send it: messages and bytes."""
    one = messages(method.input_type) | messages(method.input_type) | damaged(method.input_type)
    parts = st.lists(one, min_size=1, max_size=3) if method.client_streaming else one.map(lambda part: [part])
    return parts.map(lambda made: (method, made))


async def check_stored(url: str, outcomes: Outcomes) -> None:
    """Nothing of a request that was refused is stored, and every record is where its log says."""
    connection = await asyncpg.connect(url)
    try:
        for table in ("change", "draft"):
            found = await connection.fetch(f"SELECT DISTINCT change_reason FROM draftline.{table}")
            assert {row["change_reason"] for row in found} <= outcomes.acknowledged | {""}
        astray = await connection.fetch(
            "SELECT r.tenant_id, r.collection, r.record_id, r.version FROM draftline.record AS r WHERE r.version <>"
            " (SELECT max(c.version) FROM draftline.change AS c WHERE (c.tenant_id, c.collection, c.record_id)"
            " = (r.tenant_id, r.collection, r.record_id))"
        )
        assert not astray
    finally:
        await connection.close()


def memory_kb(service: Served) -> int:
    """The resident memory of the server."""
    told = subprocess.run(["ps", "-o", "rss=", "-p", str(service.process.pid)], capture_output=True, check=True)
    return int(told.stdout)
