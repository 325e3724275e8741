"""Progress bars of commands that read a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, TypeVar

from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from .terminal_text import TerminalConsole

T = TypeVar("T")
REFRESH_ITEMS = 500


def with_progress(items: Iterable[T], file: BinaryIO, text: Callable[[int], str]) -> Iterator[T]:
    """Yield the items of the file and, on a terminal, show the progress with the text for the number of items."""
    console = TerminalConsole(stderr=True)
    if not console.is_terminal:
        yield from items
        return
    columns = (BarColumn(), TaskProgressColumn(), DownloadColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task("file", total=_size_bytes(file), text="")
        for count, item in enumerate(items, 1):
            yield item
            if count % REFRESH_ITEMS == 0:
                progress.update(task, completed=file.tell() if file.seekable() else 0, text=text(count))


def _size_bytes(file: BinaryIO) -> int | None:
    if file is sys.stdin.buffer or not file.seekable():
        return None
    here = file.tell()
    end = file.seek(0, 2)
    file.seek(here)
    return end
