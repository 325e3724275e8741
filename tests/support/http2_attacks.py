"""An HTTP/2 caller that follows the protocol and wastes the server's limits: messages that never end, calls that are
cancelled at once, headers without messages. It stays on loopback, and each attack ends."""

from __future__ import annotations

import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from support.http2_frames import DATA, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, Frame, opening, reset

WINDOW_UPDATE, INITIAL_WINDOW, ACK = 8, 4, 1
FRAME_BYTES, FIRST_WINDOW = 16_384, 65_535
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
Metadata = Sequence[tuple[str, str]]


@dataclass
class Attacker:
    """A connection, how far its streams may be written, and what came back."""

    socket: socket.socket
    windows: dict[int, int] = field(default_factory=lambda: {0: FIRST_WINDOW})
    first_window: int = FIRST_WINDOW
    ended: set[int] = field(default_factory=set)  # streams
    resets: Counter[int] = field(default_factory=Counter)  # from the other end, by code
    is_closed: bool = False
    sent_bytes: int = 0
    _read: bytes = b""

    def open(self, path: str, count: int, metadata: Metadata = ()) -> list[int]:
        """The streams of so many calls whose messages are not sent yet."""
        first = 2 * len(self.windows) - 1
        streams = list(range(first, first + 2 * count, 2))
        for stream in streams:
            self.windows[stream] = self.first_window
            self._send(opening(stream, path, metadata=metadata)[0])
        return streams

    def ask(self, path: str, message: bytes, count: int) -> None:
        """Make so many calls, whole."""
        for stream in self.open(path, count):
            self._send(Frame(DATA, END_STREAM, stream, struct.pack(">BI", 0, len(message)) + message))

    def take_back(self, streams: Sequence[int]) -> None:
        for stream in streams:
            self._send(reset(stream))

    def fill(self, streams: Sequence[int], declared: int, *, for_s: float) -> None:
        """Send all but the last byte of a message of so many bytes on each stream, as far as it is allowed."""
        left = dict.fromkeys(streams, declared + 4)
        until = time.monotonic() + for_s
        while time.monotonic() < until and not self.is_closed and any(left.values()):
            moved = 0
            for stream in [each for each in left if each not in self.ended]:
                head = struct.pack(">BI", 0, declared) if left[stream] == declared + 4 else b""
                size = min(FRAME_BYTES, left[stream], self.windows[0], self.windows[stream])
                if size > len(head):
                    self._send(Frame(DATA, 0, stream, head + bytes(size - len(head))))
                    left[stream] -= size
                    self.windows[0] -= size
                    self.windows[stream] -= size
                    moved += size
            self.sent_bytes += moved
            self.hear(0.0 if moved else 0.05)

    def hear(self, for_s: float) -> None:
        """Take what has come, and answer what has to be answered. Waits no longer than that for it."""
        self.socket.settimeout(max(for_s, 0.001))
        with suppress(TimeoutError, OSError):
            read = self.socket.recv(1 << 20)
            self.is_closed = not read
            self._read += read
        for frame in self._frames():
            self._hear(frame)

    def _frames(self) -> Iterator[Frame]:
        while len(self._read) >= 9:
            end = 9 + int.from_bytes(self._read[:3], "big")
            if len(self._read) < end:
                return
            kind, flags, stream = struct.unpack(">BBI", self._read[3:9])
            frame, self._read = Frame(kind, flags, stream, self._read[9:end]), self._read[end:]
            yield frame

    def _hear(self, frame: Frame) -> None:
        if frame.kind == WINDOW_UPDATE:
            self.windows[frame.stream] = self.windows.get(frame.stream, 0) + int.from_bytes(frame.payload, "big")
        elif frame.kind == SETTINGS and not frame.flags & ACK:
            window = frame.settings().get(INITIAL_WINDOW, self.first_window)
            self.windows = {each: left + (window - self.first_window if each else 0)
                            for each, left in self.windows.items()}  # fmt: skip
            self.first_window = window
            self._send(Frame(SETTINGS, ACK, 0, b""))
        elif frame.kind == PING and not frame.flags & ACK:
            self._send(Frame(PING, ACK, 0, frame.payload))
        elif frame.kind == RST_STREAM:
            self.ended.add(frame.stream)
            self.resets[int.from_bytes(frame.payload, "big")] += 1
        elif frame.kind == HEADERS and frame.flags & END_STREAM:
            self.ended.add(frame.stream)
        elif frame.kind == GOAWAY:
            self.resets[-1] += 1

    def _send(self, frame: Frame) -> None:
        self.socket.settimeout(2.0)
        try:
            self.socket.sendall(frame.encoded())
        except OSError:
            self.is_closed = True


@contextmanager
def attacking(address: str, answer_window: int = FIRST_WINDOW) -> Iterator[Attacker]:
    """Connect. `answer_window`: how much of an answer is read."""
    host, _, port = address.rpartition(":")
    settings = struct.pack(">HI", INITIAL_WINDOW, answer_window)
    with socket.create_connection((host, int(port)), timeout=10) as opened:
        opened.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(SETTINGS, 0, 0, settings).encoded())
        attacker = Attacker(opened)
        attacker.hear(1.0)
        yield attacker
