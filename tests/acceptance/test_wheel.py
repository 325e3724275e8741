"""The wheel holds all that the service needs at run time, and runs from where there is no clone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.server_process import environment

ROOT = Path(__file__).parent.parent.parent
BESIDE = {"migrations": ROOT / "migrations", "examples": ROOT / "examples"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, for the build writes beside its sources."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("service", "migrations", "examples"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir"]
    subprocess.run([*command, str(out), str(source)], check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_wheel_holds_every_file_of_the_tree(wheel: Path) -> None:
    package = ROOT / "service" / "draftline_server"
    files = {f"draftline_server/{path.relative_to(package)}": path for path in package.rglob("*")}
    for name, folder in BESIDE.items():
        files |= {f"draftline_server/{name}/{path.relative_to(folder)}": path for path in folder.rglob("*")}
    wanted = {name for name, path in files.items() if path.is_file() and "__pycache__" not in name}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name for name in wanted ^ packed if not name.startswith("draftline_server/examples/")} == set()
    assert {f"draftline_server/examples/{name}" for name in ("movies.json", "toy_system/system.py")} <= packed


def test_installed_service_migrates_without_a_clone(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    settings = {**environment(data_dir=tmp_path / "data", log_level="error"), "PYTHONPATH": str(site)}
    code = "from draftline_server.ops.revisions import FOLDER; print(FOLDER)"
    run = {"cwd": tmp_path, "env": settings, "text": True, "timeout": 120}
    assert subprocess.check_output([sys.executable, "-c", code], **run).strip().startswith(str(site))
    told = subprocess.check_output([sys.executable, "-m", "draftline_server", "migrate"], **run)
    assert told.startswith("the database is at revision ")
