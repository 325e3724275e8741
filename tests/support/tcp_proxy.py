"""A TCP proxy that delays, stalls, cuts and half-closes connections, as networks do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from urllib.parse import parse_qs, urlsplit

from draftline_server.ops.background_loop import threaded

CHUNK_BYTES = 64 * 1024
STALL_POLL_S = 0.005


class Fate(Enum):
    """The treatment of a chunk of data by the proxy."""

    PASS = auto()
    CUT = auto()  # it is lost, and its connection
    CUT_AFTER = auto()  # it arrives, and then its connection is lost
    SILENCE = auto()  # it arrives, and nothing comes back any more, of which nobody is told


class Way(Enum):
    THERE = auto()  # from who connected
    BACK = auto()


Judge = Callable[[Way, bytes], Fate]


@dataclass(eq=False)
class _Link:
    """Both ends of one connection through the proxy."""

    there: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    back: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    silent: bool = False

    def cut(self) -> None:
        for _, writer in (self.there, self.back):
            writer.transport.abort()


@dataclass(eq=False)
class Proxy:
    """Listens on `port` of loopback. Attributes and methods may be used from any thread."""

    judge: Judge | None = None  # is asked for the fate of all that is sent; called from the proxy's thread
    delay_s: float = 0.0  # of all that is sent, each way
    stalled: bool = False  # nothing arrives any more, and nobody is told
    refusing: bool = False  # new connections are cut at once
    port: int = 0
    cuts: int = 0  # connections lost so far
    _links: set[_Link] = field(default_factory=set)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def cut(self) -> None:
        """Cut every connection."""
        self._do(lambda: [self._cut(link) for link in list(self._links)])

    def half_close(self, way: Way) -> None:
        """Half-close every connection in one direction; the other direction stays open."""
        self._do(lambda: [_end(link.back if way is Way.THERE else link.there) for link in list(self._links)])

    def forget(self) -> None:
        """Drop the far end of every connection and keep the near end open and silent, as a lost router does."""
        self.stalled = True
        self._do(lambda: [link.back[1].transport.abort() for link in list(self._links)])

    @property
    def connections(self) -> int:
        return len(self._links)

    def _do(self, action: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(action)

    def _cut(self, link: _Link) -> None:
        self.cuts += 1
        link.cut()

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connect: Callable[[], Any]
    ) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            link = _Link((reader, writer), await connect())
        except OSError:
            writer.transport.abort()
            return
        self._links.add(link)
        try:
            await asyncio.gather(
                self._pump(link, Way.THERE, link.there[0], link.back[1]),
                self._pump(link, Way.BACK, link.back[0], link.there[1]),
            )
        finally:
            link.cut()
            self._links.discard(link)

    async def _pump(self, link: _Link, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                fate = Fate.PASS if self.judge is None else self.judge(way, chunk)
                await self._unstalled()
                link.silent |= fate is Fate.SILENCE
                if fate is not Fate.CUT and not (way is Way.BACK and link.silent):
                    writer.write(chunk)
                if fate in (Fate.CUT, Fate.CUT_AFTER):
                    self._lose(link, way)
                    return
                await writer.drain()
            await self._unstalled()
            _end((reader, writer))
        except RuntimeError:  # it was half-closed meanwhile
            pass
        except OSError:  # one end was reset, of which the other is to hear
            await self._unstalled()
            link.cut()

    def _lose(self, link: _Link, way: Way) -> None:
        """The sender loses its connection at once; the other end once it has what was sent before."""
        self.cuts += 1
        sender, receiver = (link.there, link.back) if way is Way.THERE else (link.back, link.there)
        sender[1].transport.abort()
        receiver[1].close()

    async def _unstalled(self) -> None:
        while self.stalled:  # noqa: ASYNC110  set from any thread
            await asyncio.sleep(STALL_POLL_S)


def _end(end: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    with suppress(OSError):
        if end[1].can_write_eof() and not end[1].is_closing():
            end[1].write_eof()


@asynccontextmanager
async def _serving(connect: Callable[[], Any]) -> Any:
    proxy = Proxy()
    links: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy.serve(reader, writer, connect))
        links.add(task)
        task.add_done_callback(links.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)


@contextmanager
def before_postgres(url: str) -> Iterator[tuple[Proxy, str]]:
    """Run a proxy in front of the PostgreSQL of `url`; yield it and the URL that leads through it."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    host, port = query.get("host", parts.hostname or "localhost"), int(query.get("port", parts.port or 5432))

    async def connect() -> Any:
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    with threaded(_serving(connect)) as proxy:
        login = f"{parts.username or ''}{':' + parts.password if parts.password else ''}"
        yield proxy, f"postgresql://{login}@127.0.0.1:{proxy.port}{parts.path}"


@contextmanager
def before(address: str) -> Iterator[tuple[Proxy, str]]:
    """Run a proxy in front of an address; yield it and its own address."""
    host, _, port = address.rpartition(":")

    async def connect() -> Any:
        return await asyncio.open_connection(host, int(port))

    with threaded(_serving(connect)) as proxy:
        yield proxy, f"127.0.0.1:{proxy.port}"
