"""The service as a process: how it starts, stops, is killed, and what is there afterwards."""

from __future__ import annotations

import shutil
import signal
import threading
from pathlib import Path

import draftline as client_package
from draftline import Client, Retry, op
from support.server_process import invoked, is_left_running, served

WRITERS = 8
WRITES_BEFORE_KILL = 200


def test_first_call_is_answered_on_a_new_directory(tmp_path: Path) -> None:
    with served(data_dir=tmp_path / "data") as service, Client(service.address, tenant_id="acme") as client:
        created = client.create_content("movies", {"Title": "Alien"}, record_id="m-1")
        assert created.version == 1
        assert client.get_content("movies", "m-1").content == {"Title": "Alien"}


def test_signal_ends_it_cleanly_and_the_next_start_has_the_data(data_dir: Path) -> None:
    with served(data_dir=data_dir) as service:
        with Client(service.address, tenant_id="acme") as client:
            client.create_content("movies", {"Title": "Alien"}, record_id="m-1")
        assert service.stop(signal.SIGINT) == 0
    assert not is_left_running(data_dir)
    with served(data_dir=data_dir) as service:
        with Client(service.address, tenant_id="acme") as client:
            assert client.get_content("movies", "m-1").content == {"Title": "Alien"}
        assert service.stop(signal.SIGTERM) == 0
    assert not is_left_running(data_dir)


def test_next_start_after_a_kill_has_every_acknowledged_write(data_dir: Path) -> None:
    acknowledged = [0] * WRITERS
    enough = threading.Event()

    def write(writer: int, address: str) -> None:
        with Client(address, tenant_id="acme", retry=Retry(max_attempts=1)) as client:
            while True:
                try:
                    client.patch_content(
                        "counters", f"c-{writer}", operations=[op.increment("/n", 1)], allow_missing=True
                    )
                except client_package.DraftlineError:
                    return
                acknowledged[writer] += 1
                if sum(acknowledged) >= WRITES_BEFORE_KILL:
                    enough.set()

    with served(data_dir=data_dir) as service:
        writers = [threading.Thread(target=write, args=(writer, service.address)) for writer in range(WRITERS)]
        for thread in writers:
            thread.start()
        assert enough.wait(60)
        service.stop(signal.SIGKILL)
        for thread in writers:
            thread.join()
    with served(data_dir=data_dir) as service:
        with Client(service.address, tenant_id="acme") as client:
            stored = [client.get_content("counters", f"c-{writer}").content["n"] for writer in range(WRITERS)]
        # One more may have been written than was acknowledged: the answer was lost, the write was not.
        assert [0 <= have - told <= 1 for have, told in zip(stored, acknowledged, strict=True)] == [True] * WRITERS
        assert service.stop(signal.SIGTERM) == 0
    assert not is_left_running(data_dir)


def test_taken_port_is_refused_in_a_line(data_dir: Path) -> None:
    other = Path(shutil.copytree(data_dir, data_dir.with_name("other")))
    with served(data_dir=data_dir) as service:
        port = service.address.rpartition(":")[2]
        refused = invoked("serve", data_dir=other, port=port, log_level="error")
    assert refused.returncode == 1
    told = f"Error: cannot listen on 127.0.0.1:{port}: the port may be in use; set DRAFTLINE_PORT to another one"
    assert refused.stderr.splitlines()[-1] == told
    assert not is_left_running(other)


def test_address_beyond_loopback_is_refused(data_dir: Path) -> None:
    refused = invoked("serve", data_dir=data_dir, host="0.0.0.0", log_level="error")
    assert refused.returncode == 1
    assert "loopback alone" in refused.stderr


def test_unmigrated_database_is_refused(postgres_url: str) -> None:
    refused = invoked("serve", database_url=postgres_url.replace("/draftline?", "/postgres?"), log_level="error")
    assert refused.returncode == 1
    assert "was never migrated" in refused.stderr
    assert "run `draftline migrate`" in refused.stderr


def test_unreachable_database_is_refused_in_a_line() -> None:
    refused = invoked("serve", database_url="postgresql://nobody@127.0.0.1:1/none", log_level="error")
    assert refused.returncode == 3
    assert refused.stderr.startswith("Error: ")
    assert "Traceback" not in refused.stderr


def test_health_tells_serving_and_not(data_dir: Path) -> None:
    with served(data_dir=data_dir) as service:
        serving = invoked("health", "--address", service.address)
        unknown = invoked("health", "--address", service.address, "--service", "no.such.Service")
        service.stop(signal.SIGTERM)
        away = invoked("health", "--address", service.address)
    assert (serving.returncode, serving.stdout) == (0, "SERVING\n")
    assert (unknown.returncode, unknown.stdout) == (1, "NOT_FOUND\n")
    assert (away.returncode, away.stdout) == (1, "UNAVAILABLE\n")
