"""A real PgBouncer between the service and PostgreSQL: with sessions it serves as ever, without it is refused."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from draftline import Client, op
from support.polling import until
from support.server_process import draftline as command
from support.server_process import invoked, served

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
REFUSED = "the database is reached through a pooler that gives connections no session of their own"
CALLERS = 8
PATCHES = 50

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not there (Debian: apt-get install pgbouncer)")


def free_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def is_open(port: int) -> bool:
    with closing(socket.socket()) as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def pooled(database_url: str, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts a PgBouncer before the test's database; the URL that leads through it."""
    started: list[subprocess.Popen[bytes]] = []
    parts = urlsplit(database_url)
    host = parts.hostname or parse_qs(parts.query)["host"][0]
    server_port = parts.port or int(parse_qs(parts.query).get("port", ["5432"])[0])

    def start(pool_mode: str, **options: object) -> str:
        port, name = free_port(), parts.path.lstrip("/")
        password = f" password={parts.password}" if parts.password else ""
        given = {
            "listen_addr": "127.0.0.1", "listen_port": port, "auth_type": "any", "pool_mode": pool_mode,
            "unix_socket_dir": "", "max_client_conn": 200, "default_pool_size": 40, **options,
        }  # fmt: skip
        lines = [f"{key} = {value}" for key, value in given.items()]
        target = f"{name} = host={host} port={server_port} user={parts.username}{password}"
        path = tmp_path / f"{pool_mode}-{port}.ini"
        away = f"{name}_gone = host=127.0.0.1 port={free_port()} user={parts.username}"
        path.write_text("\n".join(["[databases]", target, away, "[pgbouncer]", *lines, ""]))
        # It will not run as root; in a user namespace it does not see that it does.
        own_user = ["unshare", "--user", "--map-user=1000"] if os.geteuid() == 0 else []
        started.append(subprocess.Popen([*own_user, str(PGBOUNCER), "-q", str(path)], stderr=subprocess.DEVNULL))
        until(lambda: is_open(port) or started[-1].poll() is not None)
        assert started[-1].poll() is None, "pgbouncer did not start"
        return f"postgresql://{parts.username}@127.0.0.1:{port}/{name}"

    yield start
    for process in started:
        process.kill()
        process.wait()


# Debian 12's rejects what it does not know of a connection's beginning; one that is told to ignore it says nothing.
IGNORED = "statement_timeout, lock_timeout, plan_cache_mode, enable_seqscan, jit, search_path, options"


@pytest.mark.parametrize("options", [{}, {"ignore_startup_parameters": IGNORED}], ids=["rejecting", "ignoring"])
def test_pooler_in_session_mode_serves_every_call(pooled: Callable[..., str], options: dict[str, object]) -> None:
    url = pooled("session", **options)
    assert invoked("migrate", database_url=url).returncode == 0
    with served(database_url=url, pool_size=10) as service:

        def call(number: int) -> int:
            with Client(service.address, tenant_id="acme", user=f"u-{number}") as client:
                for _ in range(PATCHES):
                    client.patch_content(
                        "films", "m-1", operations=[op.increment("/n", 1)], allow_missing=True,
                        request_id=str(uuid.uuid4()),
                    )  # fmt: skip
                client.import_content(f"many-{number}", [(str(n), {"n": n}) for n in range(200)])
                client.put_collection(f"many-{number}", fields={"/n": "number"})
                client.save_draft(f"many-{number}", "1", {"n": -1})
                page = client.get_merged_page(f"many-{number}", filter="n < 2", order_by="n desc")
                client.commit(f"many-{number}", all=True)
                return len(page.records)

        with Client(service.address, tenant_id="acme") as client, client.watch("films") as watch:
            with ThreadPoolExecutor(CALLERS) as threads:
                assert list(threads.map(call, range(CALLERS))) == [2] * CALLERS
            assert client.get_content("films", "m-1").content == {"n": CALLERS * PATCHES}
            assert next(watch).record_id == "m-1"
        assert service.stop(signal.SIGTERM) == 0
    told = str(service.log)
    assert "notification_connection_lost" not in told
    assert "unexpected_error" not in told


async def test_sessions_through_a_pooler_have_the_service_s_settings(
    pooled: Callable[..., str], connection: asyncpg.Connection
) -> None:
    from draftline_server.store.database import Database  # noqa: PLC0415
    from draftline_server.store.pool_settings import PoolSettings  # noqa: PLC0415

    database = Database(pooled("session"), PoolSettings(size=1, statement_timeout_s=7, read_only=True))
    await database.open(checked=True)
    try:
        shown = "SELECT name, setting FROM pg_settings WHERE name = ANY($1)"
        names = ["statement_timeout", "plan_cache_mode", "jit", "default_transaction_read_only", "TimeZone"]
        wanted = {
            "statement_timeout": "7000", "plan_cache_mode": "force_generic_plan", "jit": "off",
            "default_transaction_read_only": "on", "TimeZone": "UTC",
        }  # fmt: skip
        for leaves_open in (True, False):
            async with database.connections.acquire() as used:
                assert dict(await used.fetch(shown, names)) == wanted
                if leaves_open:  # what is reset then goes back to what the connection began with
                    await used.execute("BEGIN")
    finally:
        await database.close()


SERVE = (["serve"],)
EVERY = (["serve", "--workers", "2"], ["migrate"])


@pytest.mark.parametrize(
    ("mode", "options", "commands"),
    [
        ("transaction", {}, EVERY),
        ("transaction", {"default_pool_size": 1}, SERVE),
        ("transaction", {"server_round_robin": 1}, SERVE),
        ("statement", {}, SERVE),
    ],
    ids=["transaction", "transaction, one server", "transaction, servers in turn", "statement"],
)
def test_pooler_without_sessions_is_refused(
    pooled: Callable[..., str], mode: str, options: dict[str, object], commands: Sequence[Sequence[str]]
) -> None:
    url = pooled(mode, **options)
    for arguments in commands:
        run = command if "--workers" in arguments else invoked
        refused = run(*arguments, database_url=url, port=0, log_level="error")
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert refused.stderr.startswith(f"Error: {REFUSED}")
    if commands == EVERY:
        examined = invoked("doctor", "--json", database_url=url, port=0)
        assert examined.returncode == 1
        assert REFUSED in examined.stdout


def test_pooler_before_the_database_of_into_is_refused_by_the_name_of_the_option(
    pooled: Callable[..., str], database_url: str
) -> None:
    refused = invoked("migrate", "--rehearse", "--into", pooled("transaction"), database_url=database_url)
    assert (refused.returncode, refused.stderr.count(REFUSED)) == (1, 1), refused.stderr
    assert ("have --into lead to" in refused.stderr, "DRAFTLINE_DATABASE_URL" in refused.stderr) == (True, False)


def test_pooler_whose_database_is_away_is_told_from_one_without_sessions(pooled: Callable[..., str]) -> None:
    url = pooled("session", server_login_retry=1, query_wait_timeout=2)
    refused = invoked("serve", database_url=f"{url}_gone", port=0, log_level="error", pool_connect_timeout_s=5)
    assert refused.returncode == 3
    assert REFUSED not in refused.stderr


@pytest.mark.parametrize("arguments", [["serve"], ["migrate"], ["check"]], ids=" ".join)
def test_pooler_that_refuses_a_parameter_is_named(pooled: Callable[..., str], arguments: list[str]) -> None:
    url = f"{pooled('session')}?options=-c%20search_path%3Dpublic"
    refused = invoked(*arguments, database_url=url, port=0, log_level="error")
    assert (refused.returncode, refused.stderr.count("\n")) == (3, 1), refused.stderr
    assert "rejects a parameter of the connection, as poolers do (SQLSTATE 08P01); remove `options`" in refused.stderr
