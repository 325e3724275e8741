"""The Unix socket of an embedded PostgreSQL, in a directory that only its owner can enter."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from ..ops.socket_folders import fits, make_stable

_SOCKET = ".s.PGSQL.5432"


def url_at(sockets: Path) -> str:
    """Return the URL of the server whose socket is in this directory."""
    return f"postgresql://draftline@/draftline?host={quote(str(sockets))}&port=5432"


def conninfo_at(sockets: Path) -> str:
    """Return the same as libpq keywords, for ``psql "<conninfo>"``."""
    host = str(sockets).replace("\\", r"\\").replace("'", r"\'")
    return f"host='{host}' port=5432 user=draftline dbname=draftline"


def running_url(home: Path) -> str | None:
    """Return the URL of the running server of this data directory, or None if none runs."""
    directory = _directory(home.resolve())
    return url_at(directory) if (directory / _SOCKET).exists() else None


def make_socket_dir(home: Path, give: Callable[[Path], None]) -> Path:
    """Create the socket directory, ``home/socket``, and return its path.

    If that path is too long for a socket address or has a comma, it becomes a link to a private folder with a short
    path, which is returned. That folder is the same at each start, and is removed when the server stops. ``give``
    changes the owner of what is created. Raises OSError if no folder has a path that is short enough.
    """
    remove_socket_dir(home)
    own = home / "socket"
    if fits(own / _SOCKET) and "," not in str(own):
        own.mkdir(mode=0o700, exist_ok=True)
        give(own)
        return own
    private = make_stable(str(home), _SOCKET, {os.getuid(), home.stat().st_uid})
    give(private)
    own.symlink_to(private)
    return private


def remove_socket_dir(home: Path) -> None:
    """Remove the socket directory and a socket that a server may have left in it."""
    directory = _directory(home)
    with contextlib.suppress(OSError):
        for name in (_SOCKET, f"{_SOCKET}.lock"):
            (directory / name).unlink(missing_ok=True)
        directory.rmdir()
    own = home / "socket"
    if own.is_symlink():
        own.unlink()


def _directory(home: Path) -> Path:
    own = home / "socket"
    return own.readlink() if own.is_symlink() else own
