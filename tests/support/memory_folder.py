"""A folder in memory for the databases of a test run, which are copied hundreds of times."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")
PREFIX = "draftline-tests-"
ROOM = 8 * 1024**3  # bytes that must be free for all processes of a run


@contextmanager
def memory_folder() -> Iterator[Path]:
    """Yield a new folder in memory, or on disk where memory is scarce, and delete it at the end.

    Delete the folders of runs that were killed first.
    """
    has_room = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM
    if has_room:
        for left in MEMORY.glob(f"{PREFIX}*"):
            if not Path("/proc", left.name.split("-")[2]).exists():
                shutil.rmtree(left, ignore_errors=True)
    prefix, parent = f"{PREFIX}{os.getpid()}-", MEMORY if has_room else None
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
