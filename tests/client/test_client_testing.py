"""`draftline.testing`: a service for the tests of applications."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from draftline.testing import serving
from support.polling import until

APPLICATION_TEST = """
import asyncio
import os
import signal

import draftline


def test_patch_is_stored(draftline_client):
    draftline_client.create_content("movies", {"Title": "Alien"}, record_id="m-1")
    draftline_client.patch_content("movies", "m-1", {"Rating": 8.5})
    assert draftline_client.get_content("movies", "m-1").content == {"Title": "Alien", "Rating": 8.5}


def test_tenant_is_new(draftline_client, draftline_service):
    assert list(draftline_client.list_collections()) == []

    async def read():
        async with draftline_service.async_client() as client:
            return [each async for each in client.list_collections()]

    assert asyncio.run(read()) == []


def test_service_ends_with_the_run(draftline_service):
    print("address", draftline_service.address, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_fixtures_serve_tests_and_end_with_the_process(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["draftline.testing"]\n')
    (tmp_path / "test_application.py").write_text(APPLICATION_TEST)
    own = {**os.environ, "DRAFTLINE_PORT": "1", "DRAFTLINE_UNKNOWN": "x"}  # settings of the application are ignored
    (tmp_path / "draftline.toml").write_text('database_url = "postgresql://db.internal/films"\n')
    command = [sys.executable, "-m", "pytest", "-vs", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=own, cwd=tmp_path, check=False, timeout=120)
    assert done.stdout.count(" PASSED") == 2, done.stdout + done.stderr
    assert done.returncode == -signal.SIGKILL
    host, port = done.stdout.rpartition("address ")[2].strip().split(":")
    until(lambda: not _listens(host, int(port)))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_in_flight": 0}, "MAX_IN_FLIGHT: '0' is not an integer"),
        ({"prot": 0}, "No such option '--prot'.*'--port'"),
    ],
    ids=["value", "name"],
)
def test_service_that_cannot_start_says_why(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(RuntimeError, match=f"(?s)did not start.*{reason}"), serving(**settings):
        pass


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
