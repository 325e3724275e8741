"""Connections verify the name of the system, whatever address it has."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from draftline.upstreams import CollectionBinding, UnreachableError
from draftline.v1 import upstream_pb2_grpc
from draftline_server.upstreams.endpoints_file import ConfiguredEndpoint, Contents, parse
from draftline_server.upstreams.guard import Guard
from draftline_server.upstreams.http_json.connector import HttpJsonUpstream
from draftline_server.upstreams.registry import Upstreams
from support.certificates import Authority
from support.scripted_http import scripted
from support.toy_upstream import shipped, toy

PART = {"id": "p-1", "version": 7, "reference": "r-1", "content": {}}
TRUSTED, OTHER = Authority("trusted"), Authority("other")
LOOPBACK = {"networks": ["127.0.0.0/8", "::1/128"], "tenants": ["acme"]}
CLIENT = {"ca_file": "ca.pem", "certificate_file": "client.pem", "key_file": "client.key"}
BINDINGS = [CollectionBinding(collection="parts")]


def endpoint(folder: Path, authority: Authority, **definition: Any) -> ConfiguredEndpoint:
    """Return an endpoint that trusts an authority, and has a client certificate of the trusted one."""
    client = TRUSTED.issue("client")
    files = {"ca.pem": authority.certificate, "client.pem": client.certificate, "client.key": client.key}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return parse(Contents(msgspec.json.encode({"api": {**definition, **LOOPBACK}}), files, folder))["api"]


def server_context(folder: Path) -> ssl.SSLContext:
    """Return the context of a server that requires a client certificate of the trusted authority."""
    files = TRUSTED.issue().write(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=TRUSTED.certificate.decode())
    context.load_cert_chain(files["tls_certificate_file"], files["tls_key_file"])
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def looked_up(folder: Path, authority: Authority, host: str, resolved: Sequence[str] = ("127.0.0.1",)) -> Any:
    async def resolve(_: str, port: int) -> Sequence[str]:
        return resolved

    async with scripted([(200, {}, PART)], server_context(folder)) as server:
        definition = {**shipped("toy"), "base_url": f"https://{host}:{server.port}", "tls": CLIENT}
        definition["resources"] = {"parts": definition["resources"]["parts"]}
        configured = endpoint(folder, authority, **definition)
        guard = Guard([ipaddress.ip_network("127.0.0.0/8")], resolve)
        upstream = HttpJsonUpstream(configured, configured.definition, "acme", BINDINGS, guard)  # type: ignore[arg-type]
        try:
            return await upstream.lookup("parts", ["p-1"])
        finally:
            await upstream.close()


async def test_https_with_an_authority_and_a_client_certificate_of_its_own(tmp_path: Path) -> None:
    (found,) = await looked_up(tmp_path, TRUSTED, "localhost")
    assert found.remote_version == "7"


async def test_https_of_another_authority_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="cannot connect: the certificate is not valid"):
        await looked_up(tmp_path, OTHER, "localhost")


async def test_https_of_another_name_is_refused_although_the_address_is_permitted(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="cannot connect: the certificate is not valid"):
        await looked_up(tmp_path, TRUSTED, "api.example.com")


@contextmanager
def grpc_server() -> Iterator[int]:
    """Serve the toy with TLS, and yield its port."""
    pair = TRUSTED.issue()
    server = grpc.server(ThreadPoolExecutor(2))
    upstream_pb2_grpc.add_UpstreamServiceServicer_to_server(toy.UpstreamService(toy.System()), server)
    credentials = grpc.ssl_server_credentials([(pair.key, pair.certificate)], TRUSTED.certificate, True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield port
    server.stop(0).wait()


@pytest.mark.parametrize(("authority", "works"), [(TRUSTED, True), (OTHER, False)])
async def test_grpc_verifies_the_name_of_the_system(tmp_path: Path, authority: Authority, works: bool) -> None:
    with grpc_server() as port:
        configured = endpoint(tmp_path, authority, kind="grpc", address=f"localhost:{port}", tls=CLIENT)
        upstream = Upstreams(lambda: {"api": configured}).open("api", "acme", BINDINGS)
        try:
            assert (await upstream.describe("parts")).conditional_writes == works
        except UnreachableError:
            assert not works
        finally:
            await upstream.close()
