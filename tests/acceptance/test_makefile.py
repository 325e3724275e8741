"""`make clean` keeps the database unless it is told otherwise, and a half-made environment is made again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parent.parent.parent / "Makefile"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with the Makefile, an environment and a database."""
    shutil.copy(MAKEFILE, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".draftline").mkdir()
    return tmp_path


def make(tree: Path, *arguments: str, stdin: str = "") -> str:
    command = ["make", f"PYTHON={sys.executable}", *arguments]
    done = subprocess.run(command, cwd=tree, input=stdin, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("arguments", "stdin", "is_kept"),
    [([], "", True), ([], "n\n", True), ([], "yes\n", False), (["YES=1"], "", False)],
    ids=["no answer", "no", "yes", "without a question"],
)
def test_clean_deletes_the_database_only_after_a_yes(
    tree: Path, arguments: list[str], stdin: str, is_kept: bool
) -> None:
    output = make(tree, "clean", *arguments, stdin=stdin)
    assert not (tree / ".venv").exists()
    assert (tree / ".draftline").exists() is is_kept
    assert ("is kept" in output) is is_kept


def test_half_made_environment_is_made_again(tree: Path) -> None:
    (tree / ".venv" / "bin" / "python").symlink_to(sys.executable)  # as a creation leaves it that fails at pip
    make(tree, ".venv/bin/pip")
    assert (tree / ".venv" / "bin" / "pip").exists()
