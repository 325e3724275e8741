"""The process of workers, a service, and the toy system of the examples over gRPC."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from draftline import Client, RecordState
from support.metrics import page, scrape
from support.polling import until
from support.server_process import DRAFTLINE, environment, served
from support.soak_scale import IS_SOAK
from support.toy_upstream import toy


@contextmanager
def workers(settings: dict[str, Any]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `draftline sync` once it has started, and kill it at the end. Yield also the port of its metrics."""
    process = subprocess.Popen(
        [DRAFTLINE, "sync"],
        env=environment(log_format="json", metrics_port=0, **settings),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        started = next((line for line in process.stderr if "sync_workers_started" in line), "{}")
        yield process, json.loads(started)["metrics_port"]
    finally:
        process.kill()
        process.wait()


# The leases of a worker that is killed expire after 30 s.
ENDED_BY = signal.SIGKILL if IS_SOAK else signal.SIGTERM


def test_workers_that_end_while_they_send_lose_and_double_nothing(database_url: str, tmp_path: Path) -> None:
    """End a process of workers while responses are lost, and continue with another one, which the service wakes."""
    system = toy.System({"timeout-after-apply": 0.2})
    running = toy.Running(system)
    endpoint = {
        "kind": "grpc", "address": f"127.0.0.1:{running.grpc_port}", "tls": None, "networks": ["127.0.0.0/8"],
        "tenants": ["acme"],
    }  # fmt: skip
    (tmp_path / "upstreams.json").write_text(json.dumps({"toy": endpoint}))
    settings = {"database_url": database_url, "upstreams_file": tmp_path / "upstreams.json"}
    try:
        with (
            served(database_url=database_url, metrics_port="") as service,
            Client(service.address, tenant_id="acme", user="ada") as client,
        ):
            client.put_sync("pems", "toy", ["parts"])
            with workers(settings) as (first, _):
                for number in range(20):
                    client.create_content("parts", {"rate": number}, record_id=f"p{number}")
                until(lambda: len(system.parts) >= 5)
                os.kill(first.pid, ENDED_BY)
                first.wait()
            system.rates.clear()
            with workers(settings) as (_, metrics_port):
                until(
                    lambda: client.get_sync_status("pems").committed + client.get_sync_status("pems").syncing == 0, 60
                )
                client.save_draft("parts", "p0", {"rate": 100})
                committed = client.commit("parts", all=True)
                assert client.wait_synced(committed.commit_id).synced == 1
                shown = {each.record_id: each for each in client.get_merged("parts")}
                told = scrape(metrics_port)
                assert told.value("draftline_sync_pushed_records_total", outcome="applied") >= 1
                assert told.value("draftline_syncs_running") == 1
                assert told.value("draftline_database_reachable") == 1
                assert page(metrics_port, "/readyz") == (200, "ok\n")
            assert {each.state for each in shown.values()} == {RecordState.SYNCED}
            there = sorted(part.content["rate"] for part in system.parts.values() if not part.deleted)
            assert there == [*range(1, 20), 100]
    finally:
        running.stop()
