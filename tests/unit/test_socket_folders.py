"""Sockets have short paths, wherever the data and the temporary files are, and starts leave no folders behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from draftline_server.embedded_postgres.socket_path import make_socket_dir, remove_socket_dir, running_url
from draftline_server.ops import socket_folders
from draftline_server.ops.socket_folders import SOCKET_PATH_BYTES, fits, make_stable, short_base

SOCKET = ".s.PGSQL.5432"


@pytest.fixture
def long_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Set a folder for temporary files whose path is too long for a socket."""
    folder = tmp_path / ("x" * 60) / ("y" * 60)
    folder.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    tempfile.tempdir = None


def test_socket_of_a_long_folder_is_in_the_same_short_one_at_each_start(long_folder: Path) -> None:
    home = long_folder / "data"
    home.mkdir()
    made = make_socket_dir(home, lambda _: None)
    assert len(os.fsencode(made / SOCKET)) <= SOCKET_PATH_BYTES
    assert made.stat().st_mode & 0o777 == 0o700
    (made / SOCKET).touch()
    assert running_url(home) is not None
    assert make_socket_dir(home, lambda _: None) == made  # as after a kill, which leaves it there
    assert not (made / SOCKET).exists()
    (home / "socket").unlink()  # as of a data directory that was deleted and made anew
    assert make_socket_dir(home, lambda _: None) == made
    remove_socket_dir(home)
    assert not made.exists()
    assert not (home / "socket").is_symlink()


def test_folder_that_another_could_enter_is_not_used(long_folder: Path) -> None:
    made = make_stable(str(long_folder), SOCKET, {os.getuid()})
    try:
        made.chmod(0o755)
        other = make_stable(str(long_folder), SOCKET, {os.getuid()})
        assert other != made
        assert fits(other / SOCKET)
        other.rmdir()
        made.rmdir()
        made.symlink_to(long_folder)
        other = make_stable(str(long_folder), SOCKET, {os.getuid()})
        assert other != made
        other.rmdir()
    finally:
        made.unlink() if made.is_symlink() else made.rmdir()


def test_folder_for_temporary_files_is_used_where_it_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/var/tmp")
    assert short_base("a.sock") == Path("/var/tmp")


def test_no_short_folder_is_told(long_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_folders, "ELSEWHERE", ())
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pytest.raises(OSError, match="set TMPDIR to a shorter one"):
        short_base(SOCKET)
