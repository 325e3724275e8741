"""A queue in front of standard error, so that logging never blocks on the reader of the log.

Invariants:
- A write returns at once. Only one background thread writes to the descriptor and may block there.
- At most MAX_CHARS are queued. Text beyond that is dropped and counted; the loss is reported once there is room again.
- Lines of several processes that share a pipe are not interleaved: each write has up to PIPE_BUF bytes of whole lines,
  which a pipe accepts atomically.
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
BATCH_S = 0.01  # time to gather lines, so that under load the thread wakes at most a hundred times a second
EXIT_S = 1.0  # time to write the queued text at process exit
NO_DESCRIPTOR = -1  # the descriptor if there is no standard error


class LogQueue(io.TextIOBase):
    """A replacement for `stream`. Its thread runs until the process ends."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, stream: TextIO | None, max_chars: int = MAX_CHARS) -> None:
        """Create a queue. `stream` is None if the process has no standard error; all text is then discarded."""
        super().__init__()
        self._stream = stream
        self._descriptor = NO_DESCRIPTOR if stream is None else stream.fileno()
        self._max_chars = max_chars
        self._parts: list[str] = []
        self._chars = 0
        self._unreported = 0  # dropped lines that are not reported yet
        self._is_writing = False
        self._changed = threading.Condition()
        self.dropped = 0  # lines dropped so far
        # Called in the background thread when there is room again.
        self.on_dropped: Callable[[int], None] = lambda _: None
        threading.Thread(target=self._write_queued, name="log", daemon=True).start()

    def write(self, text: str) -> int:
        """Queue the text, or drop it if the queue is full."""
        if not isinstance(text, str):  # click detects the type of a stream this way
            raise TypeError("this is a stream of text")
        if self._descriptor == NO_DESCRIPTOR:
            return len(text)
        with self._changed:
            if self._chars + len(text) > self._max_chars:
                self._count_dropped(text.count("\n"))
            else:
                if not self._parts:
                    self._changed.notify_all()
                self._parts.append(text)
                self._chars += len(text)
        return len(text)

    def flush(self) -> None:
        """Return at once. Use `drain` to wait."""

    def drain(self, timeout_s: float = EXIT_S) -> bool:
        """Wait until all queued text is written. Return False if this takes longer than `timeout_s`."""
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
        if self._descriptor == NO_DESCRIPTOR:
            raise OSError("the process has no standard error")
        return self._descriptor

    def _count_dropped(self, lines: int) -> None:
        self._unreported += lines
        self.dropped += lines

    def _write_queued(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._parts)
            time.sleep(BATCH_S)
            with self._changed:
                text, self._parts, self._is_writing = "".join(self._parts), [], True
            failed = sum(not self._write_chunk(chunk) for chunk in _chunks(text.encode(errors=self.errors)))
            with self._changed:
                # Text counts toward the limit until it is written.
                self._chars -= len(text)
                self._is_writing = False
                unreported, self._unreported = (0, self._unreported) if failed else (self._unreported, 0)
                self._changed.notify_all()
            if unreported:
                self.on_dropped(unreported)

    def _write_chunk(self, chunk: bytes) -> bool:
        """Write a chunk; block while the reader is slow.

        Return False if it is lost, because the reader is gone or the disk is full.
        """
        rest = memoryview(chunk)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # another process that shares the pipe made it non-blocking
                select.select([], [self._descriptor], [])
            except OSError:
                with self._changed:
                    self._count_dropped(bytes(rest).count(b"\n"))
                return False
        return True


def _chunks(data: bytes) -> Iterator[bytes]:
    """Yield groups of whole lines of at most PIPE_BUF bytes; a longer line is yielded alone."""
    part = b""
    for line in data.splitlines(keepends=True):
        if part and len(part) + len(line) > select.PIPE_BUF:
            yield part
            part = b""
        part += line
    if part:
        yield part


def install() -> LogQueue | None:
    """Replace sys.stderr by a queue for the rest of the process, unless it is one already; return the queue.

    Return None if sys.stderr has no file descriptor, and therefore never blocks.
    """
    if isinstance(sys.stderr, LogQueue):
        return sys.stderr
    try:
        queue = LogQueue(sys.stderr)
    except io.UnsupportedOperation:
        return None
    sys.stderr = queue  # also for tracebacks, warnings and the output of click
    atexit.register(queue.drain)
    return queue
