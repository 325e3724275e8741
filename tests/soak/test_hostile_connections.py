"""Whatever bytes a connection brings, the service goes on, and nothing of the connection is left."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.http2_frames import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, Frame
from support.polling import until
from support.request_bytes import METHODS, good, name_of
from support.server_process import Served, served
from support.soak_scale import length

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PRIORITY, PUSH_PROMISE, WINDOW_UPDATE, CONTINUATION = 2, 5, 8, 9
SEED = 20261120
RANDOM = length("CONNECTIONS", 150, soak=3_000)  # connections of random bytes

# Of good headers: (name, value) that takes the place of the one of that name, or stands beside them.
HEADERS_CHANGED: list[tuple[bytes, bytes]] = [
    *((b"grpc-timeout", value) for value in (b"", b"x", b"-1S", b"0n", b"1", b"1y", b"9" * 30 + b"S", b"1.5S", b"S")),
    (b"grpc-timeout", b"99999999H"),
    *((b":method", value) for value in (b"GET", b"PUT", b"", b"\x00", b"post")),
    *((b":path", value) for value in (b"", b"/", b"*", b"//", b"/a/b", b"\xff", b"/" + b"a" * 4000)),
    (b":path", b"/draftline.v1.ContentService/"),
    *((b":scheme", value) for value in (b"", b"ftp", b"https")),
    *((b"content-type", value) for value in (b"", b"text/html", b"application/grpc+json", b"application/grpc;x")),
    (b"content-type", b"\x00"),
    *((b"te", value) for value in (b"", b"gzip")),
    *((b"grpc-encoding", value) for value in (b"gzip", b"deflate", b"identity", b"none", b"")),
    *((b"authorization", b"Bearer " + value) for value in (b"\x00", b"a\r\nx: y", b"\xc3\xa9", b"a" * 9000)),
    *((b"authorization", value) for value in (b"\xff\xfe", b"\t")),
    *((b"x-draftline-user", value) for value in (b"\xff", b"a\x00b", b"\r\n", b"\x7f", b" ", b"a" * 5000)),
    (b"x-draftline-user", "é".encode()),
    (b"x-bad-bin", b"no base64!"), (b"x-bad-bin", b"====="), (b"X-Upper", b"a"), (b"", b"a"), (b":unknown", b"a"),
    (b"x y", b"a"),
    (b"connection", b"close"), (b"host", b"a"), (b"content-length", b"-1"), (b"content-length", b"9" * 30),
    (b"grpc-status", b"0"),
    (b"x" * 9000, b"a"), (b"a", b"b" * 60_000),
]  # fmt: skip


def header_block(*changed: tuple[bytes, bytes]) -> bytes:
    """Headers of a call as HPACK writes them without a table (RFC 7541)."""
    headers = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": name_of(METHODS[0]).encode(),
        b":authority": b"x",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
    }
    beside = [(name, value) for name, value in changed if name not in headers]
    headers.update({name: value for name, value in changed if name in headers})
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in [*headers.items(), *beside])


def _text(text: bytes) -> bytes:
    size = len(text)
    if size < 127:
        return bytes([size]) + text
    length, rest = bytearray([127]), size - 127
    while rest > 127:
        length.append(rest & 127 | 128)
        rest >>= 7
    return bytes([*length, rest]) + text


def message(flag: int, length: int, data: bytes) -> bytes:
    return struct.pack(">BI", flag, length) + data


def calls() -> Iterator[list[Frame]]:
    """Frames of calls with something wrong."""
    data = good(METHODS[0].input_type, tenant_id="acme").SerializeToString()
    opening = Frame(HEADERS, END_HEADERS, 1, header_block())
    for changed in HEADERS_CHANGED:
        yield [
            Frame(HEADERS, END_HEADERS, 1, header_block(changed)),
            Frame(DATA, END_STREAM, 1, message(0, len(data), data)),
        ]
    yield [Frame(HEADERS, END_HEADERS, 1, header_block(*((b"x-%d" % n, b"a") for n in range(2000))))]
    for body in (
        b"", b"\0", b"\0\0\0", message(1, len(data), data), message(2, len(data), data), message(255, 0, b""),
        message(0, len(data) + 1, data), message(0, len(data) - 1, data), message(0, 2**32 - 1, data),
        message(0, 2**31, b""),
        message(0, 17 * 2**20, b""), message(0, len(data), data) * 2, message(0, len(data), data) + b"\0",
        message(1, 8, b"\x1f\x8b\x08" * 3),
    ):  # fmt: skip
        yield [opening, Frame(DATA, END_STREAM, 1, body)]
        yield [opening, Frame(DATA, 0, 1, body)]
        yield [
            opening,
            *(Frame(DATA, 0, 1, body[n : n + 1]) for n in range(len(body))),
            Frame(DATA, END_STREAM, 1, b""),
        ]
    for kind in range(12):
        for stream in (0, 1, 2, 2**31 - 1):
            yield [opening, Frame(kind, 0xFF, stream, bytes(5)), Frame(kind, 0, stream, b"\xff" * 6)]
    yield [Frame(DATA, 0, 1, b"a")]
    yield [Frame(CONTINUATION, END_HEADERS, 1, b"a")]
    yield [Frame(HEADERS, 0, 1, header_block())] + [Frame(CONTINUATION, 0, 1, b"\0\1a\1b" * 100)] * 500
    yield [Frame(HEADERS, END_HEADERS, 1, b"\xff" * 100)]
    yield [Frame(HEADERS, END_HEADERS, 1, b"\x3f\xff\xff\xff\xff\xff\x0f")]
    yield [Frame(HEADERS, END_HEADERS, 1, b"\x80")]
    yield [Frame(SETTINGS, 0, 0, struct.pack(">HI", number, 2**32 - 1)) for number in range(8)]
    yield [Frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 4096) * 200)] * 200
    yield [Frame(PING, 0, 0, bytes(8))] * 1000
    yield [Frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1))] * 3
    yield [Frame(WINDOW_UPDATE, 0, 0, bytes(4))]
    yield [opening, Frame(RST_STREAM, 0, 1, struct.pack(">I", 2**32 - 1)), Frame(GOAWAY, 0, 0, b"\xff" * 8), opening]
    yield [Frame(PUSH_PROMISE, 0, 1, header_block()), Frame(PRIORITY, 0, 1, struct.pack(">IB", 1, 255))]


def connections() -> Iterator[bytes]:
    """All that is sent over one."""
    yield from (
        b"",
        b"\0",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    )
    yield from (
        PREFACE[:12],
        PREFACE,
        PREFACE * 2,
        PREFACE + b"\xff" * 100,
        b"SSH-2.0-x\r\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"a" * 100_000,
    )
    start = PREFACE + Frame(SETTINGS, 0, 0, b"").encoded()
    for frames in calls():
        whole = b"".join(frame.encoded() for frame in frames)
        yield start + whole
        yield start + whole[: len(whole) // 2]
    dice = random.Random(SEED)
    for number in range(RANDOM):
        yield (start if number % 3 else b"") + dice.randbytes(dice.choice((1, 9, 50, 500, 20_000)))


@pytest.fixture
def service(database_url: str) -> Iterator[Served]:
    with served(database_url=database_url) as running:
        yield running


def test_no_bytes_of_a_connection_stop_the_service(service: Served, report: Callable[[str], None]) -> None:
    host, _, port = service.address.rpartition(":")
    with grpc.insecure_channel(service.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert is_serving(health)
        before = open_files(service)
        for count, sent in enumerate(connections(), 1):  # noqa: B007
            with socket.create_connection((host, int(port)), timeout=30) as opened, suppress(ConnectionError):
                opened.sendall(sent)
                with suppress(OSError):  # it may be closed by now
                    opened.shutdown(socket.SHUT_WR)
                while opened.recv(65_536):  # until it is closed, which it must be
                    pass
        assert is_serving(health)
        until(lambda: open_files(service) <= before + 2)
    assert service.process.poll() is None
    report(f"{count} connections of any bytes, and none of them is left")


def is_serving(health: Any) -> bool:
    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=30)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def open_files(service: Served) -> int:
    """Return the number of open files of the server; 0 if the system does not report it."""
    return len(list(Path(f"/proc/{service.process.pid}/fd").glob("*")))
