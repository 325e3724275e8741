"""Every command connects to PostgreSQL alike: with TLS, and with the same words for each refusal."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest
from draftline import Client
from draftline_server.embedded_postgres import server as embedded
from draftline_server.embedded_postgres.server import EmbeddedPostgres
from support.certificates import Authority
from support.server_process import draftline as command
from support.server_process import invoked, served
from support.servers import beside, run_sql

PASSWORD = "p@ss/word"
COMMANDS = (["migrate"], ["check"], ["serve"], ["serve", "--workers", "2"])
IN_PROCESS = (["migrate"], ["check"])
HBA = """
local all all trust
hostssl all tls_only 127.0.0.1/32 scram-sha-256
hostssl all ada 127.0.0.1/32 scram-sha-256
hostnossl all ada 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True)
class TlsPostgres:
    socket_url: str
    port: int
    authority: Path

    def url(self, query: str = "", *, user: str = "ada", password: str = PASSWORD, name: str = "draftline") -> str:
        account = f"{user}:{quote(password, safe='')}"
        return f"postgresql://{account}@127.0.0.1:{self.port}/{name}{query and '?' + query}"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsPostgres]:
    """A PostgreSQL of the system that offers TLS, and listens on loopback."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))
    if not found:
        pytest.skip("the PostgreSQL of the wheel has no TLS, and there is none of the system")
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority("postgres")
    pair, root, hba = authority.issue(), folder / "root.pem", folder / "hba.conf"
    root.write_bytes(authority.certificate)
    hba.write_text(HBA)
    certificate, key = folder / "server.pem", folder / "server.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    key.chmod(0o600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {
        "listen_addresses": "127.0.0.1", "port": str(port), "ssl": "on", "ssl_cert_file": str(certificate),
        "ssl_key_file": str(key), "hba_file": str(hba),
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "_SETTINGS", {**embedded._SETTINGS, **own})
        with EmbeddedPostgres(folder / "data", durable=False, binaries=found[0]) as started:
            url = started.url.replace("port=5432", f"port={port}")
            for role in ("ada", "tls_only"):
                run_sql(url, f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
            run_sql(url, "ALTER DATABASE draftline OWNER TO ada", "GRANT ada TO tls_only")
            yield TlsPostgres(url, port, root)


async def fetched(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def test_every_command_uses_tls_as_the_url_says(postgres: TlsPostgres) -> None:
    url = postgres.url(f"sslmode=verify-full&sslrootcert={postgres.authority}&connect_timeout=10")
    assert invoked("migrate", database_url=url).stderr == ""
    with served(database_url=url) as service, Client(service.address, tenant_id="acme") as client:
        assert client.create_content("films", {"n": 1}, record_id="m-1").version == 1
        sessions = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'ada'"
        assert beside(asyncio.run, fetched(postgres.socket_url, sessions)) is True
    assert invoked("check", database_url=url).returncode == 0
    assert invoked("doctor", "--json", database_url=url, port=0).returncode == 0


def test_first_host_that_is_up_is_used(postgres: TlsPostgres) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        first = f"127.0.0.1:{unused.getsockname()[1]},"
        url = postgres.url("sslmode=require").replace("@127.0.0.1", f"@{first}127.0.0.1")
        assert invoked("migrate", database_url=url).stderr == ""


REFUSALS = {
    "wrong password": ({"password": "hush"}, "", "the database rejects the password"),
    "no database": ({"name": "nothing"}, "", "the database does not exist on its server"),
    "TLS demanded": ({"user": "tls_only"}, "sslmode=disable", "the database rejects this user from this host"),
    "unknown authority": ({}, "sslmode=verify-full&sslrootcert={other}", "has a certificate that is not trusted"),
    "unknown option": ({}, "options=-c%20nothing=1", "the database does not know a setting in `options`"),
}


@pytest.mark.parametrize(("account", "query", "sentence"), REFUSALS.values(), ids=REFUSALS.keys())
def test_refusal_is_named_by_every_command(
    postgres: TlsPostgres, tmp_path: Path, account: dict[str, str], query: str, sentence: str
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(Authority("other").certificate)
    url = postgres.url(query.format(other=other), **account)
    for arguments in IN_PROCESS:
        done = invoked(*arguments, database_url=url)
        assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr
        assert sentence in done.stderr
        assert "hush" not in done.stderr
    examined = invoked("doctor", "--json", database_url=url, port=0)
    assert sentence.removeprefix("the database ") in examined.stdout
    assert "hush" not in examined.stdout


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_wrong_password_ends_each_command_with_a_sentence(postgres: TlsPostgres, arguments: list[str]) -> None:
    run = command if "--workers" in arguments else invoked
    done = run(*arguments, database_url=postgres.url(password="hush"), port=0, log_level="error")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr
    assert done.stderr.startswith("Error: the database rejects the password (SQLSTATE 28P01); correct the user")


def test_server_without_tls_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as refusing:

        def refuse() -> None:
            accepted, _ = refusing.accept()
            with accepted:
                accepted.recv(8)
                accepted.sendall(b"N")  # as PostgreSQL answers a request for TLS that it cannot meet
                accepted.recv(1)

        thread = threading.Thread(target=refuse)
        thread.start()
        url = f"postgresql://ada@127.0.0.1:{refusing.getsockname()[1]}/films?sslmode=require"
        done = invoked("migrate", database_url=url)
        thread.join()
    assert done.returncode == 3
    assert "the database does not offer TLS; set ssl = on in PostgreSQL" in done.stderr
