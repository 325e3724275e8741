"""Folders for Unix sockets, whose full path is limited to about 100 bytes."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
ELSEWHERE = ("/tmp", "/var/tmp")  # noqa: S108  if the path of the temporary folder is too long; checked before use


def fits(path: Path) -> bool:
    """Return whether the path is short enough for a socket."""
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES


def short_base(longest: str) -> Path:
    """Return the temporary folder, or one with a shorter path, in which a socket may have the relative path `longest`.

    Raise OSError if there is none.
    """
    bases = [Path(tempfile.gettempdir()), *map(Path, _elsewhere())]
    for base in bases:
        if fits(base / longest) and "," not in str(base) and os.access(base, os.W_OK | os.X_OK):
            return base
    tried = ", ".join(dict.fromkeys(map(str, bases)))
    raise OSError(f"no folder for sockets has a path that is short enough, of {tried}: set TMPDIR to a shorter one")


def _elsewhere() -> Iterable[str]:
    own = os.environ.get("XDG_RUNTIME_DIR")
    return [*([own] if own else []), *ELSEWHERE]


def make_stable(key: str, socket: str, owners: Iterable[int]) -> Path:
    """Create a private folder for `socket`. Its path depends only on `key`, so that restarts reuse it.

    An existing folder is used if it belongs to one of `owners` and nobody else has access. Otherwise a new folder with
    another name is created.
    """
    name = f"draftline-{os.getuid()}-{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:12]}"
    folder = short_base(f"{name}-12345678/{socket}") / name
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not _is_private(folder, owners):
            return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder.parent))
    return folder


def _is_private(folder: Path, owners: Iterable[int]) -> bool:
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid in owners and not found.st_mode & 0o077
