"""Keys at an address that may be slow, away or lie."""

from __future__ import annotations

import asyncio
import gzip
import http.server
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from draftline_server.auth import http_fetch
from draftline_server.auth import keys as keys_module
from draftline_server.auth.keys import KeyOptions, Keys
from support.certificates import Authority
from support.log_capture import logged
from support.polling import PATIENCE_S, eventually
from support.tokens import Issuer, is_taken, key_set

FIRST = Issuer.of()
SECOND = Issuer.of("second")


@dataclass
class Endpoint:
    """Serves a JWK set on loopback; `answer` writes the whole answer to a connection."""

    address: str = ""
    hits: int = 0
    answer: Callable[[Any], None] = lambda _: None

    def serve(self, *issuers: Issuer) -> None:
        self.answer = answering(200, key_set(*issuers))


def answering(status: int, body: bytes, **headers: str) -> Callable[[Any], None]:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
    return lambda wfile: wfile.write("\r\n".join([*lines, "", ""]).encode() + body)


@contextmanager
def endpoint(certificate: ssl.SSLContext | None = None) -> Iterator[Endpoint]:
    made = Endpoint()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.hits += 1
            with suppress(OSError):  # who asked has gone
                made.answer(self.wfile)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        server.socket = certificate.wrap_socket(server.socket, server_side=True)
    made.address = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}/keys?a=b"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def served() -> Iterator[Endpoint]:
    with endpoint() as made:
        made.serve(FIRST)
        yield made


@asynccontextmanager
async def keys_at(address: str) -> AsyncIterator[Keys]:
    keys = Keys(KeyOptions(jwks=address))
    await keys.start()
    try:
        yield keys
    finally:
        await keys.close()


async def test_key_that_is_not_known_is_looked_for_at_the_address(
    served: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with keys_at(served.address) as keys:
        monkeypatch.setattr(keys_module, "REFRESH_PAUSE_S", 0.0)
        assert await is_taken(FIRST.token(), keys)
        assert served.hits == 1
        served.serve(FIRST, SECOND)
        assert await is_taken(SECOND.token(), keys)
        assert await is_taken(FIRST.token(), keys)
        assert served.hits == 2
        served.serve(SECOND)
        assert await is_taken(FIRST.token(), keys)  # nothing has asked yet
        assert not await is_taken(Issuer.of("third").token(), keys)
        assert not await is_taken(FIRST.token(), keys)


async def test_address_is_asked_again_from_time_to_time(served: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "URL_INTERVAL_S", 0.01)
    async with keys_at(served.address) as keys:
        version = keys.version
        served.serve(SECOND)
        await eventually(lambda: keys.version > version)
        assert not await is_taken(FIRST.token(), keys)


async def test_tokens_of_unknown_keys_do_not_make_the_service_ask_at_their_pace(served: Endpoint) -> None:
    strangers = [Issuer(f"stranger-{n}", "RS256", SECOND.key).token() for n in range(50)]
    async with keys_at(served.address) as keys:
        assert not any(await asyncio.gather(*(is_taken(token, keys) for token in strangers)))
        assert served.hits == 1
        keys._public._read_at -= 2 * keys_module.REFRESH_PAUSE_S
        assert not any(await asyncio.gather(*(is_taken(token, keys) for token in strangers)))
        assert not any(await asyncio.gather(*(is_taken(token, keys) for token in strangers)))
        assert served.hits == 2


def drip(wfile: Any) -> None:
    """A byte now and then, so that no read ever times out."""
    wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    for _ in range(1000):
        wfile.write(b" ")
        wfile.flush()
        time.sleep(0.02)


def flood(wfile: Any) -> None:
    """Send a body without a declared length and without an end."""
    wfile.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def drip_headers(wfile: Any) -> None:
    wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(1000):
        wfile.write(b"x")
        wfile.flush()
        time.sleep(0.02)


LIES: dict[str, Callable[[Any], None]] = {
    "an error": answering(500, key_set(SECOND)),
    "not found": answering(404, b""),
    "elsewhere": answering(302, b"", location="http://127.0.0.1:1/"),
    "nothing": lambda _: None,
    "no HTTP": lambda wfile: wfile.write(b"hello\r\n\r\n"),
    "HTML": answering(200, b"<html>sign in</html>"),
    "no keys": answering(200, b'{"keys": []}'),
    "no set": answering(200, b'["keys"]'),
    "deep": answering(200, b"[" * 200_000),
    "a secret": answering(200, key_set({"kty": "oct", "kid": "first", "k": "AAAA" * 20})),
    "too much": answering(200, key_set(SECOND) + b" " * http_fetch.MAX_FETCHED_BYTES),
    "no end of chunks": flood,
    "compressed": answering(200, gzip.compress(key_set(SECOND)), **{"content-encoding": "gzip"}),
    "too little": lambda wfile: wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{}"),
    "silence": lambda _: time.sleep(1.0),
    "no end": lambda wfile: wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n") and time.sleep(1.0),
    "drops": drip,
    "drops of headers": drip_headers,
}


HANGS = ("silence", "no end", "drops", "drops of headers")


@pytest.mark.parametrize("lie", LIES)
async def test_address_that_lies_or_hangs_leaves_the_keys_as_they_were(
    served: Endpoint, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_module, "REFRESH_PAUSE_S", 0.0)
    async with keys_at(served.address) as keys:
        if lie in HANGS:
            monkeypatch.setattr(http_fetch, "FETCH_TIMEOUT_S", 0.5)
        served.answer = LIES[lie]
        asking = asyncio.create_task(is_taken(SECOND.token(), keys))
        await eventually(lambda: served.hits == 2)
        assert await is_taken(FIRST.token(), keys)  # meanwhile
        assert not await asking
        assert await is_taken(FIRST.token(), keys)
        monkeypatch.setattr(http_fetch, "FETCH_TIMEOUT_S", PATIENCE_S)
        served.serve(FIRST, SECOND)
        assert await is_taken(SECOND.token(), keys)


async def test_certificate_of_a_trusted_authority_alone_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority("keys")
    pair = authority.issue().write(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair.values())
    (tmp_path / "trusted.pem").write_bytes(authority.certificate)
    with endpoint(context) as served, logged() as logs:
        served.serve(FIRST)
        async with keys_at(served.address) as keys:
            assert not await is_taken(FIRST.token(), keys)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
        async with keys_at(served.address) as keys:
            assert await is_taken(FIRST.token(), keys)
    (failed,) = [event for event in logs if event["event"] == "reload_failed"]
    assert "certificate verify failed" in failed["reason"]


async def test_proxies_of_the_environment_are_not_used(served: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with keys_at(served.address) as keys:
        assert await is_taken(FIRST.token(), keys)


async def test_address_out_of_reach_is_no_reason_not_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "REFRESH_PAUSE_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with logged() as logs:
        async with keys_at(f"http://127.0.0.1:{port}/") as keys:
            assert not await is_taken(FIRST.token(), keys)
    assert {(each["event"], each["in_use"]) for each in logs} == {("reload_failed", "none")}


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/keys",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https://",
        "https://a:b@example.org/",
        "://x",
    ],
)
def test_address_that_is_not_protected_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="https"):
        Keys(KeyOptions(jwks=address))
