"""`draftline top`, on a service with load and with a lock that is waited for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import asyncpg
import pytest
from draftline import Client, NotFoundError
from support.server_process import draftline, invoked, served
from support.servers import RunningServer, beside, cloned, serving

WAIT_S = 30
PATIENCE_S = 300
TRIES = 20
LOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture(scope="module")
def measured(postgres_url: str, template: str) -> Iterator[RunningServer]:
    # However slow this machine is, what waits for a lock waits on.
    patient = {"lock_timeout_s": PATIENCE_S, "statement_timeout_s": PATIENCE_S, "call_timeout_s": PATIENCE_S}
    with cloned(postgres_url, template) as url, serving(url, metrics_port=0, **patient) as running:
        yield running


def top(running: RunningServer, *arguments: str) -> Any:
    url = f"http://127.0.0.1:{running.app.metrics_port}/metrics"
    done = draftline("top", "--url", url, "--once", "--interval", "0.5", *arguments, database_url=running.url)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


@contextmanager
def load(address: str) -> Iterator[None]:
    """Patches and calls that fail, one after the other, until the end of the block."""
    over = Event()

    def go_on() -> None:
        with Client(address, tenant_id="busy") as client:
            while not over.is_set():
                client.patch_content("busy", "1", {"at": time.monotonic()}, allow_missing=True)
                with pytest.raises(NotFoundError):
                    client.get_content("busy", "2")

    with ThreadPoolExecutor(1) as pool:
        going = pool.submit(go_on)
        try:
            yield
        finally:
            over.set()
            going.result(WAIT_S)


def test_rates_and_latencies_are_told(measured: RunningServer) -> None:
    with load(measured.address):
        for _ in range(TRIES):  # of half a second each, in which a slow machine may do nothing
            now, shown = top(measured, "--json"), top(measured)
            methods = {each["method"].rpartition("/")[2]: each for each in now["methods"]}
            if len(methods) == 2 and "PatchContent" in shown:
                break
    assert set(methods) == {"PatchContent", "GetContent"}
    assert methods["PatchContent"]["errors_per_s"] == 0
    assert methods["GetContent"]["errors_per_s"] == pytest.approx(methods["GetContent"]["calls_per_s"])
    for each in methods.values():
        assert each["calls_per_s"] > 0
        assert 0 < each["p50_ms"] <= each["p95_ms"] <= each["p99_ms"]
    assert "patch_content" in {each["statement"] for each in now["statements"]}
    assert (now["pool_size"], now["is_database_reachable"], now["locks"]) == (20, True, [])
    for told in ("PatchContent", "p99 ms", "patch_content", "database reachable", "no session waits for a lock"):
        assert told in shown


def test_locks_tell_who_waits_for_whom(measured: RunningServer) -> None:
    held, release = Event(), Event()

    async def hold() -> int:
        connection = await asyncpg.connect(measured.url, server_settings={"application_name": "a-long-report"})
        try:
            async with connection.transaction():
                await connection.execute("SELECT FROM draftline.record WHERE tenant_id = 'held' FOR UPDATE")
                held.set()
                release.wait(PATIENCE_S)
                return int(connection.get_server_pid())
        finally:
            await connection.close()

    with Client(measured.address, tenant_id="held", timeout=PATIENCE_S) as client, ThreadPoolExecutor(2) as pool:
        client.create_content("films", {}, record_id="1")
        holding = pool.submit(beside, _run, hold)
        assert held.wait(WAIT_S)
        patching = pool.submit(client.patch_content, "films", "1", {"n": 1})
        try:
            beside(_run, lambda: waiting(measured.url))
            now, shown = top(measured, "--json"), top(measured)
        finally:
            release.set()
        blocker = holding.result(WAIT_S)
        assert patching.result(WAIT_S).record.version == 2
    (wait,) = now["locks"]
    assert (wait["blocker"], wait["application"], wait["state"]) == (blocker, "a-long-report", "idle in transaction")
    assert wait["waited_s"] > 0
    assert wait["open_s"] >= wait["waited_s"]
    assert f"{blocker} a-long-report" in shown


def _run(work: Any) -> Any:
    return asyncio.run(work())


async def waiting(url: str) -> None:
    """Until somebody waits for a lock."""
    connection = await asyncpg.connect(url)
    try:
        deadline = time.monotonic() + WAIT_S
        while not await connection.fetchval(LOCKED):
            assert time.monotonic() < deadline
    finally:
        await connection.close()


def test_locks_of_the_embedded_database_are_found_by_its_folder(data_dir: Path, tmp_path: Path) -> None:
    with served(data_dir=data_dir, metrics_port=0) as service:
        port = next(entry["metrics_port"] for entry in service.log if entry["event"] == "serving")
        done = draftline("top", "--once", "--json", "--interval", "0.1", data_dir=data_dir, metrics_port=port)
        elsewhere = draftline(
            "top", "--once", "--json", "--interval", "0.1", data_dir=tmp_path / "else", metrics_port=port
        )
    assert json.loads(done.stdout)["locks"] == []
    assert json.loads(elsewhere.stdout)["locks"] is None


def test_metrics_out_of_reach_are_told_with_what_to_do() -> None:
    done = invoked("top", "--once", metrics_port=1)
    assert done.returncode == 3
    assert "no metrics at http://127.0.0.1:1/metrics" in done.stderr
    switched_off = invoked("top", "--once", metrics_port="")
    assert switched_off.returncode == 2
    assert "pass --url" in switched_off.stderr
