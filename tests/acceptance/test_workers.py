"""Several processes that serve as one."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import asyncpg
import grpc
import psutil
import pytest
from draftline import Client, InvalidArgumentError, op
from support.call_history import End, History, Stored
from support.polling import eventually, until
from support.retrying_writers import CHANNEL_OPTIONS, Writer, prepare
from support.server_process import STOP_S, Served, invoked, is_left_running, served
from support.server_process import draftline as command
from support.servers import cloned
from support.worker_pool import client_of_each, workers

WORKERS = 2
WRITERS = 12
CONNECTIONS = 8
WRITES = 60  # before a fault, and after it
SCHEMA = {"maxProperties": 1}
CREATED = 'grpc_server_call_started_total{grpc_method="draftline.v1.ContentService/CreateContent"}'
WAITING = """FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'draftline'
    AND wait_event_type = 'Lock'"""


@pytest.fixture(scope="module")
def module_database(postgres_url: str, template: str) -> Iterator[str]:
    with cloned(postgres_url, template) as url:
        yield url


@pytest.fixture(scope="module")
def service(module_database: str) -> Iterator[Served]:
    # Nobody is found by a heartbeat here: what is seen elsewhere was told there.
    with served(database_url=module_database, workers=WORKERS, watch_heartbeat_s=600, metrics_port=0) as running:
        yield running


@pytest.fixture
def pair(service: Served, tenant_id: str) -> Iterator[list[Client]]:
    """A client of each worker."""
    with client_of_each(service, tenant_id=tenant_id, user="ada") as clients:
        yield clients


def test_declaration_through_one_is_honoured_by_the_other(pair: list[Client]) -> None:
    def declare(collection: str, one: Client, other: Client) -> None:
        other.create_content(collection, {"a": 1}, record_id="m-1")
        other.patch_content(collection, "m-1", {"a": 2})
        one.put_collection(collection, json_schema=SCHEMA)
        with pytest.raises(InvalidArgumentError, match="SCHEMA"):
            other.patch_content(collection, "m-1", {"b": 1})
        one.put_collection(collection)
        assert other.patch_content(collection, "m-1", {"b": 1}).record.version == 3

    with ThreadPoolExecutor() as both:  # a declaration waits for the caches of the other worker
        list(both.map(declare, ("films-0", "films-1"), pair, pair[::-1]))


def test_lists_of_the_other_go_by_a_declaration_once_it_is_answered(pair: list[Client]) -> None:
    one, other = pair
    text, number = ("text", ["1", "2"]), ("number", [])

    def declare(collection: str, *types: tuple[str, list[str]]) -> None:
        other.import_content(collection, [("1", {"n": "10"}), ("2", {"n": "9"})])
        assert [each.record_id for each in other.get_merged(collection, filter="n > 5")] == []
        for type_, found in types:
            one.put_collection(collection, fields={"/n": type_})
            assert [each.record_id for each in other.get_merged(collection, filter='n > "0"')] == found

    with ThreadPoolExecutor() as both:
        list(both.map(declare, ("films-0", "films-1"), (text, number), (number, text)))


def test_watcher_of_one_sees_the_writes_of_the_other(pair: list[Client]) -> None:
    for watching, writing in (pair, pair[::-1]):
        with watching.watch("films") as watch:
            for _ in range(3):
                written = writing.patch_content(
                    "films", "m-1", operations=[op.increment("/n", 1)], allow_missing=True
                ).record.version
                assert next(watch).version == written


def test_request_happens_once_whoever_is_asked(pair: list[Client]) -> None:
    request_id = str(uuid.uuid4())
    answers = [
        client.patch_content(
            "counters", "c", operations=[op.increment("/n", 1)], allow_missing=True, request_id=request_id
        )
        for client in pair * 2
    ]
    assert {answer.record.version for answer in answers} == {1}
    assert pair[0].get_content("counters", "c").content == {"n": 1}


def test_page_token_of_one_is_good_for_the_other(pair: list[Client]) -> None:
    pair[0].import_content("films", [(str(number), {"n": number}) for number in range(4)])
    first = pair[0].get_merged_page("films", page_size=2)
    rest = pair[1].get_merged_page("films", page_size=2, page_token=first.next_page_token)
    assert [each.record_id for each in (*first.records, *rest.records)] == ["0", "1", "2", "3"]


async def test_killed_worker_is_replaced_and_nothing_is_lost_or_doubled(database_url: str) -> None:
    history, is_over = History(), asyncio.Event()

    async def written(count: int) -> None:
        wanted = history.count(End.DONE) + count
        await eventually(lambda: history.count(End.DONE) >= wanted)

    with served(database_url=database_url, workers=WORKERS) as service:
        channels = [grpc.aio.insecure_channel(service.address, CHANNEL_OPTIONS) for _ in range(CONNECTIONS)]
        await prepare(channels[0], "acme", history)
        writers = [Writer(channels[number % CONNECTIONS], "acme", f"w{number}", history) for number in range(WRITERS)]
        working = [asyncio.create_task(writer.work(is_over.is_set)) for writer in writers]
        await written(WRITES)
        before = workers(service)
        victim, survivor = before
        victim.send_signal(signal.SIGKILL)
        await written(WRITES)
        after = await eventually(lambda: len(found := workers(service)) == WORKERS and found)
        assert survivor in after
        assert victim not in after
        await written(WRITES)
        is_over.set()
        await asyncio.gather(*working)
        await asyncio.gather(*(channel.close() for channel in channels))
        until(lambda: '"worker_restarted"' in str(service.log))
        assert service.stop(signal.SIGTERM) == 0
    stored = await Stored.read(database_url, "acme")
    assert history.problems(stored) == []
    told = [line for line in map(str, service.log) if "worker_exited" in line]
    assert len(told) == 1
    assert "by SIGKILL" in told[0]


def test_worker_that_is_asked_to_stop_is_replaced(service: Served) -> None:
    victim, survivor = workers(service)
    victim.terminate()
    after = until(lambda: victim not in (found := workers(service)) and len(found) == WORKERS and found)
    assert survivor in after


async def test_all_drain_together_answer_what_they_are_at_and_log_their_numbers(database_url: str) -> None:
    loop = asyncio.get_running_loop()
    locking = await asyncpg.connect(database_url)
    with (
        # The pools could open more connections than PostgreSQL allows.
        served(database_url=database_url, workers=WORKERS, pool_size=60) as service,
        client_of_each(service, tenant_id="a") as pair,
    ):
        until(lambda: "connection_limit_too_low" in str(service.log))
        pair[0].create_content("films", {"n": 0}, record_id="m-1")
        with ThreadPoolExecutor() as threads:
            async with locking.transaction():
                await locking.execute("SELECT 1 FROM draftline.record FOR UPDATE")
                calls = [
                    loop.run_in_executor(threads, lambda client=client: client.patch_content("films", "m-1", {"n": 1}))
                    for client in pair
                ]
                await eventually(lambda: locking.fetchval(f"SELECT count(*) = {WORKERS} {WAITING}"))
                service.process.send_signal(signal.SIGTERM)
                await eventually(lambda: str(service.log).count('"draining"') == WORKERS)
            answers = await asyncio.gather(*calls)
        assert await asyncio.to_thread(service.process.wait, STOP_S) == 0
    await locking.close()
    assert sorted(answer.record.version for answer in answers) == [2, 2]  # the second changes nothing
    assert [entry["workers"] for entry in service.log if entry["event"] == "serving"] == [WORKERS]
    # Each process writes its own lines, so those of a worker may follow the supervisor's.
    lines = [json.loads(entry["event"]) if entry["event"].startswith("{") else entry for entry in service.log]
    for event in ("health_changed", "draining"):
        assert sorted(entry["worker"] for entry in lines if entry["event"] == event) == [1, 2]
    (low,) = [str(entry) for entry in lines if entry["event"] == "connection_limit_too_low"]
    assert "124" in low


def test_embedded_postgres_has_room_for_all_and_keeps_their_data_after_a_killed_supervisor(data_dir: Path) -> None:
    with served(data_dir=data_dir, workers=WORKERS, pool_size=60) as service:
        with client_of_each(service, tenant_id="acme") as clients:
            for client in clients:
                client.create_content("films", {})
        assert service.stop(signal.SIGTERM) == 0
    assert "connection_limit_too_low" not in str(service.log)
    assert not is_left_running(data_dir)
    with served(data_dir=data_dir, workers=WORKERS) as service:
        crew, port = workers(service), service.address.rpartition(":")[2]
        service.stop(signal.SIGKILL)
        assert psutil.wait_procs(crew, timeout=30)[1] == []
    with served(data_dir=data_dir, workers=WORKERS, port=port) as service:
        assert len(workers(service)) == WORKERS
        with Client(service.address, tenant_id="acme") as client:
            assert len(list(client.get_merged("films"))) == WORKERS


@pytest.mark.parametrize("count", [1, 2])
def test_port_of_workers_is_taken_for_others(service: Served, count: int, module_database: str) -> None:
    port = service.address.rpartition(":")[2]
    run = command if count > 1 else invoked
    refused = run("serve", "--workers", str(count), database_url=module_database, port=port, log_level="error")
    assert refused.returncode == 1
    told = f"Error: cannot listen on 127.0.0.1:{port}: the port may be in use; set DRAFTLINE_PORT to another one"
    assert refused.stderr.splitlines()[-1] == told


@pytest.mark.parametrize("shares", [False, True])
def test_port_that_another_program_listens_on_is_refused(database_url: str, shares: bool) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = command("serve", "--workers", "2", database_url=database_url, port=port, log_level="error")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert f"cannot listen on 127.0.0.1:{port}" in refused.stderr


def test_worker_that_cannot_start_ends_the_service_with_its_message(postgres_url: str) -> None:
    unmigrated = postgres_url.replace("/draftline?", "/postgres?")
    refused = command("serve", "--workers", "2", database_url=unmigrated, port=0, log_level="error")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: the database was never migrated, ")
    assert refused.stderr.count("\n") == 1


def test_metrics_of_all_are_one_and_a_killed_worker_is_replaced_without_a_gap(service: Served, tenant_id: str) -> None:
    created, ended = told(service, CREATED), told(service, "draftline_workers_ended_total")
    with client_of_each(service, tenant_id=tenant_id) as clients:
        for client in clients:
            client.create_content("films", {})
    assert told(service, CREATED) == created + WORKERS
    assert told(service, "draftline_workers") == WORKERS
    workers(service)[0].kill()
    assert asked(service, "/readyz") == "ok\n"
    until(lambda: told(service, "draftline_workers_ended_total") == ended + 1)
    until(lambda: told(service, "draftline_workers") == WORKERS)
    assert told(service, CREATED) == created + WORKERS


def asked(service: Served, path: str) -> str:
    (port,) = [entry["metrics_port"] for entry in service.log if "metrics_port" in entry]
    with urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        return str(answer.read().decode())


def told(service: Served, sample: str) -> float:
    """The value of a sample, by its name and labels as they are written."""
    lines = [line for line in asked(service, "/metrics").splitlines() if line.startswith(f"{sample} ")]
    return sum(float(line.split()[-1]) for line in lines)
