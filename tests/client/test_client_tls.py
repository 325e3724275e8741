"""A client whose TLS does not fit that of the service says so, with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import draftline
import grpc
import pytest
from support.both_clients import Connect
from support.certificates import Authority

AUTHORITY, OTHER = Authority("ours"), Authority("another")
TRUSTED = {"credentials": grpc.ssl_channel_credentials(AUTHORITY.certificate)}


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, str]]:
    """The addresses of servers by their security."""
    own = AUTHORITY.issue()
    pairs, trusted = [(own.key, own.certificate)], AUTHORITY.certificate
    kinds: dict[str, Any] = {
        "tls": grpc.ssl_server_credentials(pairs),
        "client certificates": grpc.ssl_server_credentials(pairs, trusted, require_client_auth=True),
        "plaintext": grpc.insecure_server_credentials(),
    }
    server = grpc.server(ThreadPoolExecutor(1))
    ports = {kind: server.add_secure_port("127.0.0.1:0", security) for kind, security in kinds.items()}
    server.start()
    yield {kind: f"127.0.0.1:{port}" for kind, port in ports.items()}
    server.stop(0).wait()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("tls", {}, "without TLS: it may use TLS: pass `credentials`"),
        ("plaintext", TRUSTED, "with TLS: what listens there does not use TLS: leave out `credentials`"),
        ("tls", {"credentials": grpc.ssl_channel_credentials(OTHER.certificate)},
         "its certificate is not trusted: pass the certificate of its authority"),
        ("tls", {**TRUSTED, "options": [("grpc.ssl_target_name_override", "other.example")]},
         "its certificate is not valid for this host"),
        ("client certificates", TRUSTED, "it may demand a client certificate"),
    ],
    ids=["plaintext to TLS", "TLS to plaintext", "not trusted", "other host", "no client certificate"],
)  # fmt: skip
async def test_tls_that_does_not_fit_is_named(
    connect: Connect, addresses: dict[str, str], kind: str, options: dict[str, Any], message: str
) -> None:
    once = draftline.Retry(max_attempts=1)
    own = [*options.get("options", []), ("grpc.use_local_subchannel_pool", 1)]
    async with connect(addresses[kind], tenant_id="acme", retry=once, **{**options, "options": own}) as client:
        with pytest.raises(draftline.UnavailableError, match=message) as caught:
            await client.get_content("films", "1")
    assert f"target {addresses[kind]}" in str(caught.value)


async def test_address_without_a_service_is_named(connect: Connect) -> None:
    async with connect("127.0.0.1:1", tenant_id="acme", retry=draftline.Retry(max_attempts=1)) as client:
        with pytest.raises(draftline.UnavailableError, match=r"target 127.0.0.1:1, without TLS: nothing listens there"):
            await client.get_content("films", "1")


async def test_request_that_is_too_large_for_grpc_names_both_sizes(connect: Connect, addresses: dict[str, str]) -> None:
    async with connect(addresses["plaintext"], tenant_id="acme") as client:
        with pytest.raises(draftline.ResourceExhaustedError, match=r"has 17,000,\d+ bytes, at most 16,777,216 are"):
            await client.create_content("films", {"a": "x" * 17_000_000})
