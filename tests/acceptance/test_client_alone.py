"""`pip install ./client` into an environment with nothing else: what comes with it, and that it works.

For every Python of those that the client says it runs on that `PATH` has; this suite's own is always among them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SMOKE = ROOT / "tests" / "support" / "client_smoke.py"
MINORS = range(10, 15)
WITHOUT_INDEX = re.compile("Could not fetch URL|NewConnectionError|name resolution", re.IGNORECASE)


def interpreter(minor: int) -> str | None:
    """An interpreter of this version that runs: one that is found may be a mere shim."""
    found = sys.executable if sys.version_info[1] == minor else shutil.which(f"python3.{minor}")
    runs = found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0
    return found if runs else None


def test_oldest_python_is_the_one_that_is_declared() -> None:
    declared = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]["requires-python"]
    assert declared == f">=3.{MINORS[0]}"


@pytest.mark.parametrize("minor", MINORS)
def test_client_installs_and_works_alone(minor: int, tmp_path: Path, server_address: str) -> None:
    python = interpreter(minor)
    if python is None:
        pytest.skip(f"no python3.{minor} on the PATH")
    source = tmp_path / "client"  # a copy, for the build writes beside its sources
    shutil.copytree(ROOT / "client", source, ignore=shutil.ignore_patterns("build", "__pycache__", "*.egg-info"))
    subprocess.run([python, "-m", "venv", "--without-pip", tmp_path / "env"], check=True, capture_output=True)
    own = tmp_path / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(own), "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--no-compile", str(source)]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    if installed.returncode and WITHOUT_INDEX.search(installed.stderr):
        pytest.skip("no package index within reach")
    assert installed.returncode == 0, installed.stderr
    listed = json.loads(subprocess.check_output([*pip, "list", "--format", "json"], text=True))
    names = {re.sub(r"[-_.]+", "-", each["name"]).lower() for each in listed}
    # typing-extensions is grpcio's own requirement.
    assert names == {"draftline", "grpcio", "protobuf", "typing-extensions"}
    done = subprocess.run(
        [own, "-I", "-W", "error", SMOKE, server_address],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.stderr, done.stdout) == ("", "done\n")
