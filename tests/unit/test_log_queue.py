"""Standard error that nobody reads, that is full or gone: nobody who logs waits for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from draftline_server.observability.log_queue import LogQueue, _chunks

LINE = "x" * 99 + "\n"
ROOM = 1000 * len(LINE)


class Pipe:
    """A pipe whose writing end is a process's standard error."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        self.stream = os.fdopen(writing, "w")

    def read(self, lines: int) -> str:
        """So many lines."""
        text = b""
        while text.count(b"\n") < lines:
            text += os.read(self.reading, 1 << 20)
        return text.decode()

    def close(self) -> None:
        os.close(self.reading)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.stream.close()


def test_lines_come_in_their_order(pipe: Pipe) -> None:
    queue = LogQueue(pipe.stream)
    for number in range(1000):
        queue.write(f"{number}\n")
    assert pipe.read(1000).split() == [str(number) for number in range(1000)]
    assert queue.drain()
    assert queue.dropped == 0


def test_pipe_that_nobody_reads_blocks_nobody_and_loses_what_is_counted(pipe: Pipe) -> None:
    told: list[int] = []
    is_told = threading.Event()
    queue = LogQueue(pipe.stream, ROOM)
    queue.on_dropped = lambda lines: (told.append(lines), is_told.set())
    for _ in range(5000):
        queue.write(LINE)
    assert not queue.drain(0.05)
    assert 3000 < queue.dropped <= 4000  # the pipe holds some
    kept = 5000 - queue.dropped
    assert pipe.read(kept) == kept * LINE
    assert is_told.wait(30)
    assert told == [queue.dropped]
    queue.write("on again\n")
    assert pipe.read(1) == "on again\n"


def test_reader_who_is_gone_harms_nobody(pipe: Pipe) -> None:
    queue = LogQueue(pipe.stream, ROOM)
    pipe.close()
    for _ in range(100):
        queue.write(LINE)
    assert queue.drain(30)
    assert queue.dropped == 100


def test_pipe_that_somebody_made_nonblocking_loses_nothing(pipe: Pipe) -> None:
    os.set_blocking(pipe.stream.fileno(), False)
    queue = LogQueue(pipe.stream)
    for _ in range(3000):
        queue.write(LINE)
    assert pipe.read(3000) == 3000 * LINE
    assert queue.drain()


def test_bytes_are_refused_and_harm_nobody(pipe: Pipe) -> None:
    queue = LogQueue(pipe.stream)
    with pytest.raises(TypeError):
        queue.write(b"")  # type: ignore[arg-type]
    queue.write(LINE)
    assert pipe.read(1) == LINE


def test_full_disk_harms_nobody() -> None:
    with open("/dev/full", "w") as full:
        queue = LogQueue(full)
        queue.write(LINE)
        assert queue.drain(30)
        assert queue.dropped == 1


def test_process_without_standard_error_discards_its_log() -> None:
    queue = LogQueue(None)
    assert queue.write(LINE) == len(LINE)
    assert queue.drain()


def test_lines_are_written_as_pipes_take_them_at_once() -> None:
    lines = [b"y" * length + b"\n" for length in (10, 4000, 4095, 9000, 1, 4093)]
    chunks = list(_chunks(b"".join(lines)))
    assert b"".join(chunks) == b"".join(lines)
    assert all(chunk.endswith(b"\n") and (len(chunk) <= 4096 or chunk.count(b"\n") == 1) for chunk in chunks)
    assert list(_chunks(b"no end")) == [b"no end"]
