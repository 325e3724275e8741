"""Services of the version before, from the history of the repository, beside those of this one under load."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import draftline
import pytest
from draftline import DeclaredStatistic
from draftline_server.ops import revisions
from support import sql
from support.ports import unused_port
from support.rolling_load import FullLoad, Load
from support.servers import on_database
from support.soak_scale import IS_SOAK

ROOT = Path(__file__).parents[2]
HEAD, BEFORE = revisions.known()[:2]
SHIPPED = ("client", "examples", "migrations", "service")
pytestmark = pytest.mark.skipif(not IS_SOAK, reason="starts eight processes and takes a minute; for soak runs")


class Version:
    """The code of one version, whose commands run in processes of their own."""

    def __init__(self, folder: Path, url: str) -> None:
        paths = os.pathsep.join([str(folder / "service"), str(folder / "client")])
        own = {name: value for name, value in os.environ.items() if not name.startswith("DRAFTLINE_")}
        given = {"DATABASE_URL": url, "METRICS_PORT": "", "LOG_FORMAT": "json", "ACCESS_LOG": "none"}
        self._environ = {**own, "PYTHONPATH": paths, **{f"DRAFTLINE_{name}": value for name, value in given.items()}}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "draftline_server", *arguments]
        return subprocess.run(command, env=self._environ, capture_output=True, text=True, timeout=120, check=False)

    def migrate(self, *arguments: str) -> str:
        done = self.run("migrate", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["revision"])

    @contextmanager
    def serving(self, address: str) -> Iterator[None]:
        """Start a service; at the end of the block, stop it as an operator does, and let it drain."""
        process = subprocess.Popen(
            [sys.executable, "-m", "draftline_server", "serve"],
            env={**self._environ, "DRAFTLINE_PORT": address.rpartition(":")[2]},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        log: list[str] = []
        try:
            for line in process.stderr:
                log.append(line)
                if '"serving"' in line:
                    break
            else:
                raise AssertionError("".join(log))
            threading.Thread(target=log.extend, args=(process.stderr,), daemon=True).start()
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log[-20:]
        finally:
            process.kill()
            process.wait()


def extracted(commit: str, folder: Path) -> Path:
    """Write the files of a commit that a version ships, and return their folder."""
    archive = subprocess.run(["git", "-C", ROOT, "archive", commit, *SHIPPED], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def last_commit_at(revision: str) -> str:
    """Return the last commit whose newest migration is `revision`. Skip the test if the history does not have it."""
    known = revisions.known()
    (later,) = (revisions.FOLDER / "versions").glob(f"{known[known.index(revision) - 1]}_*.py")
    log = ["git", "-C", ROOT, "log", "--diff-filter=A", "--format=%H", "-1", "--", later]
    found = subprocess.run(log, capture_output=True, text=True, check=False) if shutil.which("git") else None
    commit = found.stdout.strip() if found else ""
    if not commit:
        pytest.skip("the history of the repository is not here")
    return f"{commit}^"


@pytest.fixture
def empty_url(postgres_url: str) -> Iterator[str]:
    name = f"draftline_test_{uuid.uuid4().hex}"
    sql.fetch(postgres_url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    yield on_database(postgres_url, name)
    sql.fetch(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def declare(address: str, load: Load) -> None:
    with draftline.Client(address, tenant_id=load.tenant, user="ada") as client:
        client.put_collection(
            "films", fields={"/n": "number", "/genre": "text"}, orders=[["/n"]],
            statistics=[DeclaredStatistic("genres", ("/genre",), ("/n",))],
        )  # fmt: skip
        client.create_content("films", {"n": 0}, record_id="first")
        client.wait_until_built("films")


def test_versions_are_replaced_one_by_one_up_and_down_without_a_failed_call_or_a_lost_write(
    empty_url: str, tmp_path: Path, report: Callable[[str], None]
) -> None:
    old, new = Version(extracted(last_commit_at(BEFORE), tmp_path), empty_url), Version(ROOT, empty_url)
    assert old.migrate() == BEFORE
    load = FullLoad(f"tenant-{uuid.uuid4()}")
    addresses = [f"127.0.0.1:{unused_port()}" for _ in range(2)]
    rounds: dict[str, int] = {}
    with ExitStack() as first, ExitStack() as second:
        running = (first, second)

        def replace(index: int, version: Version) -> None:
            running[index].close()
            running[index].enter_context(version.serving(addresses[index]))

        def advance(phase: str) -> None:
            start = load.acknowledged
            load.advance()
            rounds[phase] = load.acknowledged - start

        replace(0, old), replace(1, old)
        declare(addresses[0], load)
        with load.on(*addresses):
            advance("old on its schema")
            assert new.migrate() == HEAD
            advance("old on the new schema")
            replace(0, new)
            advance("side by side on the way up")
            replace(1, new)
            advance("new")
            assert new.run("check").returncode == 0
            refused = new.run("migrate", "--to", BEFORE, "--yes")
            assert (refused.returncode, "of the service use this database" in refused.stderr) == (1, True)
            replace(0, old)
            advance("side by side on the way down")
            replace(1, old)
            assert new.migrate("--to", BEFORE, "--yes") == BEFORE
            advance("old on its schema again")
        assert old.run("check").returncode == 0
    report(f"{load.acknowledged} rounds of 12 calls from {BEFORE} to {HEAD} and back, none failed: {rounds}")
    assert load.failures == []
    assert load.stored(empty_url) == load.acknowledged
    assert load.seen == list(range(1, load.acknowledged + 1))
