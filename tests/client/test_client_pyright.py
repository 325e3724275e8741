"""The example application, and code that uses typed collections, pass pyright in strict mode."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
APPLICATION = """
from __future__ import annotations

from dataclasses import dataclass
from typing import assert_type

import draftline
from draftline import AsyncClient, TypedChange, TypedRecord, TypedResult


@dataclass
class Film:
    title: str


@dataclass
class Person:
    name: str


async def main(client: AsyncClient) -> None:
    films = client.collection("films", Film)
    film = await films.get("a", expand=["author"])
    assert_type(film, TypedRecord[Film])
    assert_type(film.related("author", Person), list[TypedRecord[Person]])
    async with films.watch_merged() as watch:
        async for change in watch:
            assert_type(change, TypedChange[Film])
            found = change.unwrap()
            print(found and found.model.title)
    async with films.bulk_writer() as writer:
        written = await (await writer.patch(film, Film("b")))
        assert_type(written, TypedResult[Film])
        await writer.create(Film("c"))
    await films.commit(all=True, conflict_policy="keep_mine")


def blocking(client: draftline.Client) -> None:
    with client.collection("films", Film).bulk_writer() as writer:
        assert_type(writer.create(Film("c")).result().unwrap(), TypedRecord[Film] | None)
"""
MISTAKES = {
    "film.model.titel": "titel",
    'films.commit(all=True, conflict_policy="keep_mien")': "keep_mien",
    'film.related("author", Person)[0].model.title': "title",
}


@pytest.fixture(scope="module")
def pyright() -> str:
    found = shutil.which("pyright")
    if found is None:
        pytest.skip("pyright is not installed: npm install --global pyright")
    return found


def problems(pyright: str, folder: Path, include: list[str]) -> list[dict[str, Any]]:
    """Return the errors that pyright reports in some paths, in strict mode."""
    options = {
        "include": [os.path.relpath(path, folder) for path in include], "typeCheckingMode": "strict",
        "extraPaths": [str(ROOT / "client"), str(ROOT / "examples")], "pythonVersion": "3.11",
    }  # fmt: skip
    (folder / "pyrightconfig.json").write_text(json.dumps(options))
    command = [pyright, "--outputjson", "--pythonpath", sys.executable, "--project", str(folder)]
    report = json.loads(subprocess.run(command, check=False, capture_output=True, text=True, timeout=300).stdout)
    assert report["summary"]["filesAnalyzed"] >= len(include)
    return [each for each in report["generalDiagnostics"] if each["severity"] == "error"]


def test_application_passes_and_its_mistakes_do_not(pyright: str, tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    start = APPLICATION.index("    film = await")
    for number, mistake in enumerate(MISTAKES):
        body = APPLICATION[start:].replace("\n    async with", f"\n    print({mistake})\n    async with", 1)
        (tmp_path / f"mistake_{number}.py").write_text(APPLICATION[:start] + body)
    examples = [ROOT / "examples" / "typed_films.py", ROOT / "examples" / "contracts" / "movies.py"]
    found = problems(pyright, tmp_path, [str(each) for each in (*examples, tmp_path)])
    in_mistakes = {Path(each["file"]).stem: each["message"] for each in found}
    assert sorted(in_mistakes) == ["mistake_0", "mistake_1", "mistake_2"], found
    for number, part in enumerate(MISTAKES.values()):
        assert part in in_mistakes[f"mistake_{number}"]
