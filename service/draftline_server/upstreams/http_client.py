"""Requests to HTTP APIs: guarded, authenticated, limited in time and size, without redirects and proxies."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpcore
from draftline.upstreams import UnreachableError

from .definitions import Tls
from .endpoints_file import ConfiguredEndpoint
from .guard import Guard, GuardedBackend

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
KEEPALIVE_S = 30.0
HIDDEN = "***"
MIN_HIDDEN_CHARACTERS = 4  # shorter texts occur by chance


class ResponseLostError(Exception):
    """The request was sent, and there is no complete response: it may have been applied."""


@dataclass(frozen=True)
class Response:
    """A response. The names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Authenticator(Protocol):
    """Adds credentials to requests."""

    async def headers(self, message_id: str, body: bytes) -> Mapping[str, str]:
        """Return the headers for a request. `message_id` identifies the write, and is the same if it is repeated."""
        ...

    def expire(self) -> bool:
        """Drop a credential that was rejected. Return whether another one can be obtained now."""
        ...

    def secrets(self) -> list[str]:
        """Return the texts that no message may contain."""
        ...


class HttpClient:
    """Sends requests to the hosts of one endpoint."""

    def __init__(self, endpoint: ConfiguredEndpoint, tls: Tls, guard: Guard | None = None) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._guard = guard or Guard(endpoint.networks)
        self._pools: dict[str, httpcore.AsyncConnectionPool] = {}  # by scheme
        self._opening = asyncio.Lock()
        self._requests = asyncio.Semaphore(endpoint.definition.parallel)
        self._next_at = 0.0  # the time of the next request that `rate_per_s` permits

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.aclose()

    async def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Response:
        """Send a request and return the whole response, whatever its status.

        Raises UnreachableError if nothing was sent, and ResponseLostError if the response did not arrive in time.
        """
        scheme = urlsplit(url).scheme
        if scheme != "https" and not self._endpoint.networks:
            raise UnreachableError("the URL is not https")
        was_sent = False

        async def trace(event: str, _: Any) -> None:
            nonlocal was_sent
            was_sent = was_sent or event.endswith("send_request_headers.started")

        timeout_s = self._endpoint.definition.timeout_s
        await self._wait_for_rate()
        try:
            async with self._requests, asyncio.timeout(timeout_s):
                return await self._send(method, url, headers, body, trace)
        except TimeoutError:
            problem = f"no response within {timeout_s:g} s"
        except httpcore.ConnectError as error:
            problem = f"cannot connect: {_reason(error)}"
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            problem = f"the connection failed ({type(error).__name__})"
        if was_sent:
            raise ResponseLostError(problem) from None
        raise UnreachableError(problem) from None

    async def _wait_for_rate(self) -> None:
        """Wait until `rate_per_s` permits another request. Requests are spread evenly."""
        rate_per_s = self._endpoint.definition.rate_per_s
        if rate_per_s is None:
            return
        now = time.monotonic()
        wait_s = max(self._next_at - now, 0.0)
        self._next_at = now + wait_s + 1.0 / rate_per_s
        if wait_s:
            await asyncio.sleep(wait_s)

    async def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, trace: Any) -> Response:
        pool = await self._opened(urlsplit(url).scheme)
        sent = {"accept-encoding": "identity", "user-agent": "draftline", **headers}
        if body or method in ("POST", "PUT", "PATCH"):
            sent["content-length"] = str(len(body))
        request = pool.stream(method, url, headers=list(sent.items()), content=body, extensions={"trace": trace})
        async with request as response:
            content = bytearray()
            async for chunk in response.aiter_stream():
                content += chunk
                if len(content) > MAX_RESPONSE_BYTES:
                    raise httpcore.RemoteProtocolError("the response is too large")
            received = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            if received.get("content-encoding", "identity") != "identity":
                raise httpcore.RemoteProtocolError("the response is compressed, which was not requested")
            return Response(response.status, received, bytes(content))

    async def _opened(self, scheme: str) -> httpcore.AsyncConnectionPool:
        async with self._opening:
            if scheme not in self._pools:
                context = None
                if scheme == "https":
                    # Loading the trust store takes tens of milliseconds, which would block the event loop.
                    context = await asyncio.to_thread(tls_context, self._endpoint, self._tls)
                self._pools[scheme] = httpcore.AsyncConnectionPool(
                    ssl_context=context,
                    network_backend=GuardedBackend(self._guard),
                    max_connections=self._endpoint.definition.parallel,
                    keepalive_expiry=KEEPALIVE_S,
                )
            return self._pools[scheme]


def tls_context(endpoint: ConfiguredEndpoint, tls: Tls) -> ssl.SSLContext:
    """Return the context that verifies the host, and presents the client certificate if there is one."""
    trusted = endpoint.secrets[tls.ca_file].reveal() if tls.ca_file else None
    context = ssl.create_default_context(cadata=trusted)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate_file:
        context.load_cert_chain(endpoint.folder / tls.certificate_file, endpoint.folder / tls.key_file)
    return context


def without(text: str, secrets: list[str]) -> str:
    """Return a text of the system in which no secret appears."""
    for secret in secrets:
        if len(secret) >= MIN_HIDDEN_CHARACTERS:
            text = text.replace(secret, HIDDEN)
    return text


def _reason(error: Exception) -> str:
    """Return the message of a failed connection, which has no part of a request."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate is not valid: {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
