"""Standard error as a queue: who logs never waits for who reads the log.

Invariants:
- A write returns at once, whatever becomes of its text. One thread writes to the descriptor, and waits there alone.
- At most MAX_CHARS wait. What comes beyond that is dropped and counted, and told once there is room again.
- Lines of several processes that share a pipe do not run into each other: up to PIPE_BUF bytes of whole lines are one
  write, which a pipe takes as a whole.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

MAX_CHARS = 4 * 1024 * 1024
GATHER_S = 0.01  # lines are gathered for so long, so that busy times wake the thread a hundred times a second at most
EXIT_S = 1.0  # at the end of the process, what is queued may take so long to be written
NOBODY = -1  # instead of a descriptor


class LogQueue(io.TextIOBase):
    """Stands in for `stream`; its thread runs until the process ends."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, stream: TextIO | None, max_chars: int = MAX_CHARS) -> None:
        """`stream`: None where the process was started without; then all is discarded."""
        super().__init__()
        self._stream = stream
        self._descriptor = NOBODY if stream is None else stream.fileno()
        self._max_chars = max_chars
        self._parts: list[str] = []
        self._chars = 0
        self._lost = 0  # lines that were dropped and are not told yet
        self._is_writing = False
        self._changed = threading.Condition()
        self.dropped = 0  # lines so far
        self.on_dropped: Callable[[int], None] = lambda _: None  # called in the thread, when there is room again
        threading.Thread(target=self._work, name="log", daemon=True).start()

    def write(self, text: str) -> int:
        """Queue the text, or drop it where too much waits already."""
        if not isinstance(text, str):  # click tries out in this way which kind of stream it has
            raise TypeError("this is a stream of text")
        if self._descriptor == NOBODY:
            return len(text)
        with self._changed:
            if self._chars + len(text) > self._max_chars:
                self._lose(text.count("\n"))
            else:
                if not self._parts:
                    self._changed.notify_all()
                self._parts.append(text)
                self._chars += len(text)
        return len(text)

    def flush(self) -> None:
        """Return at once: see `drain`."""

    def drain(self, timeout_s: float = EXIT_S) -> bool:
        """Wait until all that is queued is written; False if that takes too long."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            return self._changed.wait_for(
                lambda: not (self._parts or self._is_writing), max(0.0, deadline - time.monotonic())
            )

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        if self._descriptor == NOBODY:
            raise OSError("the process has no standard error")
        return self._descriptor

    def _lose(self, lines: int) -> None:
        self._lost += lines
        self.dropped += lines

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._parts)
            time.sleep(GATHER_S)
            with self._changed:
                text, self._parts, self._is_writing = "".join(self._parts), [], True
            failed = sum(not self._put(chunk) for chunk in _chunks(text.encode(errors=self.errors)))
            with self._changed:
                # What is being written counts until it is out.
                self._chars -= len(text)
                self._is_writing = False
                lost, self._lost = (0, self._lost) if failed else (self._lost, 0)
                self._changed.notify_all()
            if lost:
                self.on_dropped(lost)

    def _put(self, chunk: bytes) -> bool:
        """Write; wait for as long as nobody reads. False if nobody can any more, or a disk is full: it is lost."""
        rest = memoryview(chunk)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # somebody else who has the pipe made it so
                select.select([], [self._descriptor], [])
            except OSError:
                with self._changed:
                    self._lose(bytes(rest).count(b"\n"))
                return False
        return True


def _chunks(data: bytes) -> Iterator[bytes]:
    """Split after lines, so that each part is as large as a pipe takes at once, but for longer lines."""
    part = b""
    for line in data.splitlines(keepends=True):
        if part and len(part) + len(line) > select.PIPE_BUF:
            yield part
            part = b""
        part += line
    if part:
        yield part


def installed() -> LogQueue | None:
    """Put a queue in place of sys.stderr, if there is none yet, for the rest of the process; return it.

    None where sys.stderr is no file of the system, and so never keeps anybody waiting.
    """
    if isinstance(sys.stderr, LogQueue):
        return sys.stderr
    try:
        queue = LogQueue(sys.stderr)
    except io.UnsupportedOperation:
        return None
    sys.stderr = queue  # for tracebacks, warnings and what click tells, too
    atexit.register(queue.drain)
    return queue
