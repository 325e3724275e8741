"""The folders in memory of temporary databases."""

from __future__ import annotations

from pathlib import Path

import pytest
from draftline_server.embedded_postgres import memory_folder as folders
from draftline_server.embedded_postgres.memory_folder import LOCK, memory_folder


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the memory of the machine."""
    monkeypatch.setattr(folders, "MEMORY", tmp_path)
    monkeypatch.delenv("TMPDIR", raising=False)
    return tmp_path


def test_folder_is_in_memory_and_deleted_at_the_end(memory: Path) -> None:
    with memory_folder("draftline-t-", 1) as folder:
        assert folder.parent == memory
    assert list(memory.iterdir()) == []


def test_folder_is_on_disk_without_room_or_with_another_choice(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with memory_folder("draftline-t-", 2**60) as folder:
        assert folder.parent != memory
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    with memory_folder("draftline-t-", 1) as folder:
        assert folder.parent != memory


def test_folders_that_killed_processes_left_are_deleted(memory: Path) -> None:
    left, starting = memory / "draftline-t-left", memory / "draftline-t-starting"
    left.mkdir()
    (left / LOCK).touch()
    starting.mkdir()
    with memory_folder("draftline-t-", 1) as used, memory_folder("draftline-t-", 1) as other:
        assert {*memory.iterdir()} == {used, other, starting}
