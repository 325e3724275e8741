"""The HTTP endpoints for monitoring a process: /metrics, /livez and /readyz.

They reveal no secrets and change nothing, so they need no authentication. They have their own address.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import structlog

from .listen_errors import listen_error
from .metrics import CONTENT_TYPE

REQUEST_TIMEOUT_S = 5.0  # timeout for receiving a request, and for sending the response
MAX_HEAD_BYTES = 16 * 1024
MAX_CONNECTIONS = 32
PLAIN = "text/plain; charset=utf-8"


class Address(NamedTuple):
    """An address to listen on. Port 0 is any free port; with `falls_back`, so is a port that is in use."""

    host: str
    port: int
    falls_back: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """The response to a GET."""

    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN


class MonitoringServer:
    """An HTTP server for the monitoring endpoints, from `start` until `close`."""

    def __init__(
        self,
        metrics: Callable[[], Awaitable[bytes]],
        is_ready: Callable[[], Awaitable[bool]],
        warnings: Callable[[], Awaitable[Sequence[str]]] | None = None,
    ) -> None:
        """Create a server that does not listen yet.

        `warnings` returns lines that /readyz adds to its response while the process is ready.
        """
        self._metrics = metrics
        self._is_ready = is_ready
        self._warnings = warnings
        self._server: asyncio.Server | None = None
        self._connections = 0

    async def start(self, address: Address) -> int:
        """Listen on an address and return the port. Raise OSError if the port is not available."""
        host, port, falls_back = address
        try:
            self._server = await asyncio.start_server(self._answer, host, port, limit=MAX_HEAD_BYTES)
        except (OSError, UnicodeError) as error:
            if falls_back and isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                structlog.get_logger().warning("metrics_port_in_use", port=port, reason="another port is used instead")
                return await self.start(Address(host, 0))
            fix = "set another one, 0 for any free port, or an empty value for none"
            problem = listen_error(host, port, "DRAFTLINE_METRICS_HOST", fix)
            raise OSError(f"DRAFTLINE_METRICS_PORT: {problem}") from error
        return int(self._server.sockets[0].getsockname()[1])

    async def start_at(self, path: Path) -> None:
        """Listen on a Unix socket, for the supervisor that aggregates several workers."""
        self._server = await asyncio.start_unix_server(self._answer, path, limit=MAX_HEAD_BYTES)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()  # connections with a response in progress stay open
            self._server = None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        writer.transport.set_write_buffer_limits(0)  # so that `drain` waits until everything is sent
        try:
            if self._connections <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                page = await self._page(head)
                writer.write(_message(page, with_body=not head.startswith(b"HEAD ")))
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            # The request is invalid or the client does not read the response. A graceful close would wait forever.
            writer.transport.abort()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self._connections -= 1

    async def _page(self, head: bytes) -> Page:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return Page(HTTPStatus.METHOD_NOT_ALLOWED, b"")
        try:
            match path:
                case b"/metrics":
                    return Page(HTTPStatus.OK, await self._metrics(), CONTENT_TYPE)
                case b"/livez":
                    return Page(HTTPStatus.OK, b"ok\n")
                case b"/readyz":
                    is_ready = await self._is_ready()
                    warnings = await self._warnings() if self._warnings is not None else ()
                    text = "".join(f"{line}\n" for line in ("ok" if is_ready else "not ready", *warnings))
                    return Page(HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE, text.encode())
        except Exception as error:
            structlog.get_logger().error("monitoring_failed", path=path.decode(), exc_info=error)
            return Page(HTTPStatus.INTERNAL_SERVER_ERROR, b"")
        return Page(HTTPStatus.NOT_FOUND, b"/metrics /livez /readyz\n")


@asynccontextmanager
async def serving_metrics(
    metrics: Callable[[], Awaitable[bytes]],
    is_ready: Callable[[], Awaitable[bool]],
    address: Path | Address | None,
    warnings: Callable[[], Awaitable[Sequence[str]]] | None = None,
) -> AsyncIterator[int | None]:
    """Serve the endpoints on a Unix socket or a port during the block. Yield the port; None if there is none."""
    monitoring, port = MonitoringServer(metrics, is_ready, warnings), None
    if isinstance(address, Path):
        await monitoring.start_at(address)
    elif address is not None:
        port = await monitoring.start(address)
    try:
        yield port
    finally:
        await monitoring.close()


def _message(page: Page, *, with_body: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {page.status.value} {page.status.phrase}",
        f"Content-Type: {page.content_type}",
        f"Content-Length: {len(page.body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + (page.body if with_body else b"")
