"""HTTP GET of a small document, such as a JWK set, from a server that may be slow, broken or hostile."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

import httpx

FETCH_TIMEOUT_S = 5.0  # for the whole response, however slowly it arrives
MAX_FETCHED_BYTES = 512 * 1024
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check_url(url: str) -> None:
    """Raise ValueError unless the URL is https, or http on a loopback host."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username or parts.scheme not in ("http", "https"):
        raise ValueError("is not an https URL")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("must be https unless the host is loopback")


async def fetch(url: str) -> bytes:
    """Return the body of a GET that is answered with status 200.

    Redirects are not followed, and proxies of the environment are not used. Certificates are verified by the trust
    store of the system, or by SSL_CERT_FILE and SSL_CERT_DIR. Raises OSError if there is no such response within
    FETCH_TIMEOUT_S, or if it has more than MAX_FETCHED_BYTES, and ValueError if the URL is not allowed.
    """
    check_url(url)
    try:
        async with asyncio.timeout(FETCH_TIMEOUT_S):
            return await _get(url)
    except TimeoutError:
        raise TimeoutError(f"no complete response within {FETCH_TIMEOUT_S:g} s") from None
    except httpx.ConnectError as error:
        raise OSError(f"cannot connect: {error}") from None
    except httpx.HTTPError as error:  # its message may quote the response
        raise OSError(f"the response is incomplete or not valid HTTP ({type(error).__name__})") from None
    except httpx.InvalidURL as error:
        raise ValueError(f"is not a valid URL: {error}") from None


async def _get(url: str) -> bytes:
    # Loading the trust store takes tens of milliseconds, which would block the event loop.
    is_tls = url.startswith("https:")
    context = await asyncio.to_thread(ssl.create_default_context) if is_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with (
        httpx.AsyncClient(
            verify=context,
            trust_env=False,
            follow_redirects=False,
            timeout=None,  # noqa: S113  `fetch` limits the time of the whole request
            headers={"accept-encoding": "identity"},  # a compressed body could be far larger than its bytes
        ) as client,
        client.stream("GET", url) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise OSError(f"the server responded with status {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise OSError("the server responded with a compressed body, which was not requested")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_FETCHED_BYTES:
                raise OSError(f"the server responded with more than {MAX_FETCHED_BYTES:,} bytes")
        return bytes(body)
