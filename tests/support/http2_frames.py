"""HTTP/2 frames (RFC 9113), for requests that no gRPC client sends."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from support.responses import TIMEOUT_S

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MAX_CONCURRENT_STREAMS = 3
CANCEL, REFUSED_STREAM, ENHANCE_YOUR_CALM = 8, 7, 11


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    def encoded(self) -> bytes:
        return (
            struct.pack(">I", len(self.payload))[1:]
            + struct.pack(">BBI", self.kind, self.flags, self.stream)
            + self.payload
        )

    def settings(self) -> dict[int, int]:
        return dict(struct.iter_unpack(">HI", self.payload))


@dataclass(frozen=True)
class Wire:
    socket: socket.socket

    def send(self, *frames: Frame) -> None:
        self.socket.sendall(b"".join(frame.encoded() for frame in frames))

    def frames(self) -> Iterator[Frame]:
        """Yield the frames of the server until it closes the connection."""
        with self.socket.makefile("rb") as stream:
            while len(head := stream.read(9)) == 9:
                kind, flags, number = struct.unpack(">BBI", head[3:])
                yield Frame(kind, flags, number, stream.read(int.from_bytes(head[:3], "big")))


def opening(
    stream: int, path: str, message: bytes = b"", metadata: Sequence[tuple[str, str]] = (), *, compressed: bool = False
) -> list[Frame]:
    """The frames of a call with one message."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "x",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    block = b"".join(b"\x00" + _text(name) + _text(value) for name, value in [*headers.items(), *metadata])
    return [
        Frame(HEADERS, END_HEADERS, stream, block),
        Frame(DATA, END_STREAM, stream, struct.pack(">BI", compressed, len(message)) + message),
    ]


def reset(stream: int) -> Frame:
    return Frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))


def _text(text: str) -> bytes:
    """A text as HPACK writes it without a table (RFC 7541)."""
    size = len(text)
    if size < 127:
        return bytes([size]) + text.encode()
    length, rest = bytearray([127]), size - 127
    while rest > 127:
        length.append(rest & 127 | 128)
        rest >>= 7
    return bytes([*length, rest]) + text.encode()


@contextmanager
def connected(address: str) -> Iterator[Wire]:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as opened:
        opened.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(SETTINGS, 0, 0, b"").encoded())
        yield Wire(opened)
