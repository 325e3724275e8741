"""Generated TypeScript: a compiler accepts it, and the contents from which the specs were inferred."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from draftline import Collection
from draftline_server.contracts.generation import ContractKind, contract
from draftline_server.contracts.proposals import propose
from draftline_server.contracts.shapes import Shape

KEYS = [
    "record", "array", "string", "object", "any", "null", "Movie", "movies", "class", "a/b", "x y", "é", "", "1st",
    'q"\\', "new\nline", "\u2028", "*/", "`${x}`", "a-b", "a_b", "A B", "日本", "map", "date", "promise", "let",
]  # fmt: skip
COUNT = 30  # of specs, which are compiled at once


def inferred(contents: list[dict[str, Any]], collection: str = "movies") -> str:
    root = Shape()
    for each in contents:
        root.add(each)
    spec = Collection("acme", collection, (), (), propose(root).json_schema, 1, (), None, None)
    return contract(spec, ContractKind.TYPESCRIPT)


def value(dice: random.Random, depth: int = 0) -> Any:
    kind = dice.random()
    if depth < 3 and kind < 0.3:
        return {dice.choice(KEYS): value(dice, depth + 1) for _ in range(dice.randrange(4))}
    if depth < 3 and kind < 0.45:
        return [value(dice, depth + 1) for _ in range(dice.randrange(4))]
    return dice.choice([None, True, 1, -1.5, 1e300, "", "x", "2020-01-01", "Jun 20 1975"])


def test_types_that_interfaces_hide_are_not_used() -> None:
    votes = {f"key{n}": n for n in range(300)}
    text = inferred([{"votes": votes, "array": {"a": [1]}, "names": ["x", None]}], "records")
    for line in ("votes: { [key: string]: unknown };", "array: Array;", "names: (string | null)[];"):
        assert f"  {line}\n" in text
    text = inferred([{"votes": votes, "names": ["x"]}])
    for line in ("votes: Record<string, unknown>;", "names: Array<string>;"):
        assert f"  {line}\n" in text


def test_compiler_accepts_generated_types_and_their_contents(tmp_path: Path) -> None:
    compiler = shutil.which("tsc")
    if compiler is None:
        pytest.skip("tsc, the compiler of TypeScript, is not installed: npm install --global typescript")
    dice = random.Random(7)
    for number in range(COUNT):
        contents = [
            {dice.choice(KEYS): value(dice) for _ in range(dice.randrange(6))} for _ in range(dice.randint(1, 5))
        ]
        samples = [f"export const sample{n}: Movie = {json.dumps(each)};" for n, each in enumerate(contents)]
        (tmp_path / f"spec{number}.ts").write_text("\n".join([inferred(contents), *samples]))
    broken = 'export const sample: Movie = { votes: "many" };'
    (tmp_path / "broken.ts").write_text(inferred([{"votes": 1}]) + broken)
    command = [compiler, "--strict", "--noEmit", "--skipLibCheck", "--lib", "es5", *map(str, tmp_path.iterdir())]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    (error,) = [line for line in checked.stdout.splitlines() if not line.startswith(" ")]
    assert "broken.ts" in error, checked.stdout
    assert "TS2322" in error
