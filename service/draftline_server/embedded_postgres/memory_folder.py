"""Folders in memory for databases that are deleted soon: a new database is written to disk several times as slowly."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108 - the folders in it have unpredictable names
LOCK = "in-use.lock"


@contextmanager
def memory_folder(prefix: str, room: int) -> Iterator[Path]:
    """Yield a new folder, and delete it at the end.

    It is in memory if `room` bytes of that are free and TMPDIR does not say where temporary files belong. Folders that
    killed processes have left in memory are deleted first.
    """
    has_room = "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and _free(MEMORY) >= room
    if has_room:
        for left in MEMORY.glob(f"{prefix}*"):
            _delete_unused(left)
    parent = MEMORY if has_room else None
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as folder:
        unlocked = Path(folder, f"{LOCK}.new")
        lock = os.open(unlocked, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            unlocked.rename(Path(folder, LOCK))  # which is locked as soon as others can see it
            yield Path(folder)
        finally:
            os.close(lock)


def _free(folder: Path) -> int:
    """Return the free bytes of the file system of a folder."""
    return shutil.disk_usage(folder).free


def _delete_unused(folder: Path) -> None:
    """Delete a folder whose lock no process holds. One without a lock is being created, or belongs to another user."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(lock)
