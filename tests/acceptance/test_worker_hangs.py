"""Workers that are stopped, hang or are killed before they serve."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.request import urlopen

from draftline import Client
from support.polling import until
from support.server_process import DRAFTLINE, Served, environment, served
from support.worker_pool import OWN_CONNECTION, workers, workers_of

WORKERS = 2
TIMEOUT_S = 6  # a worker of a busy machine is silent for a second or two
CALLERS = 20


def page(service: Served, path: str) -> tuple[int, str]:
    (port,) = [entry["metrics_port"] for entry in service.log if "metrics_port" in entry]
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_stopped_worker_makes_not_ready_and_is_replaced(database_url: str) -> None:
    with served(database_url=database_url, workers=WORKERS, worker_timeout_s=TIMEOUT_S, metrics_port=0) as service:
        assert page(service, "/readyz")[0] == HTTPStatus.OK
        victim, survivor = workers(service)
        service.process.send_signal(signal.SIGSTOP)  # a supervisor that was stopped itself kills nobody
        time.sleep(TIMEOUT_S + 1)
        service.process.send_signal(signal.SIGCONT)
        with Client(service.address, tenant_id="acme") as client:
            list(client.list_collections())
        until(lambda: page(service, "/readyz")[0] == HTTPStatus.OK)
        assert workers(service) == [victim, survivor]
        assert "worker_hung" not in str(service.log)
        victim.send_signal(signal.SIGSTOP)
        assert page(service, "/readyz")[0] == HTTPStatus.SERVICE_UNAVAILABLE
        after = until(lambda: victim not in (found := workers(service)) and len(found) == WORKERS and found)
        assert survivor in after
        until(lambda: '"worker_restarted"' in str(service.log))
        assert page(service, "/readyz")[0] == HTTPStatus.OK
        told = [json.loads(entry["event"]) for entry in service.log if '"worker_hung"' in str(entry)]
        assert [entry["level"] for entry in told] == ["error"]
        assert "draftline_workers_hung_total 1.0" in page(service, "/metrics")[1]
        for _ in range(CALLERS):  # half of them would wait for the one that is stopped
            with Client(service.address, tenant_id="acme", timeout=30, options=OWN_CONNECTION) as client:
                list(client.list_collections())
        assert service.stop(signal.SIGTERM) == 0


@contextmanager
def starting(database_url: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [DRAFTLINE, "serve"],
        env=environment(database_url=database_url, workers=WORKERS, port=0, log_format="json"),
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_worker_killed_during_the_first_start_is_started_again(database_url: str) -> None:
    with starting(database_url) as process:
        until(lambda: workers_of(process.pid))[0].kill()
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(json.loads(line))
            if lines[-1]["event"] == "serving":
                break
        lost = [line for line in lines if line["event"] == "worker_start_failed"]
        assert [line["reason"].partition(" ended ")[2] for line in lost] == ["by SIGKILL; see its log for the reason"]
        with Client(str(lines[-1]["address"]), tenant_id="acme") as client:
            list(client.list_collections())
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_worker_that_never_starts_ends_the_service_with_a_message(database_url: str) -> None:
    is_over = threading.Event()
    with starting(database_url) as process:

        def kill_all() -> None:
            while not is_over.wait(0.005):
                for worker in workers_of(process.pid)[:1] if process.poll() is None else []:
                    worker.kill()

        killing = threading.Thread(target=kill_all)
        killing.start()
        try:
            _, told = process.communicate(timeout=60)
        finally:
            is_over.set()
            killing.join()
        assert process.returncode == 1
        assert told.splitlines()[-1].endswith(" ended by SIGKILL; see its log for the reason")
        assert told.splitlines()[-1].startswith("Error: worker ")
