"""An HTTP server whose responses a test gives one after another."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

CUT = "cut"  # the connection is closed instead of a response


@dataclass
class Request:
    """A request that arrived. The names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Reply = tuple[int, dict[str, str], Any] | str
Script = Callable[[Request], Reply]


@dataclass
class ScriptedHttp:
    """The server: its port, and the requests that arrived."""

    script: list[Reply] | Script
    port: int = 0
    requests: list[Request] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *lines = head.strip().split("\r\n")
                method, path, _ = line.split(" ")
                headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append(Request(method, path, headers, body))
                reply = self.script(self.requests[-1]) if callable(self.script) else self.script.pop(0)
                if isinstance(reply, str):
                    break
                status, sent, content = reply
                encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
                lines = [f"HTTP/1.1 {status} Reason", f"content-length: {len(encoded)}"]
                lines += [f"{name}: {value}" for name, value in sent.items()]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + encoded)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted(script: list[Reply] | Script, context: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedHttp]:
    """Serve on a free port of loopback until the end of the block."""
    running = ScriptedHttp(script)
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0, ssl=context)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
