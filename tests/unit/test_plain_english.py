"""Check the checker of plain English, which `make check` runs over the sources."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "plain_english.py"
spec = importlib.util.spec_from_file_location("plain_english", TOOL)
assert spec is not None
assert spec.loader is not None
plain_english = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plain_english)


@pytest.mark.parametrize(
    ("name", "source", "line", "word"),
    [
        ("a.py", 'x = 1\nraise ValueError("start anew")\n', 2, "anew"),
        ("a.py", "x = 1\n# Kept for\n# ever.\n", 2, "for ever"),
        ("a.py", 'def f():\n    """Whether it is so."""\n', 2, "Whether"),
        ("a.py", 'def f(x):\n    return f"{x} was told"\n', 2, "told"),
        ("a.proto", "message A {\n  // The text is no number.\n}\n", 2, "is no number"),
        ("a.sql", "SELECT 1;\n-- Nobody reads it\n-- but the owner.\n", 2, "Nobody reads it but"),
        ("a.yaml", "a: 1  # for whoever reads it\n", 1, "whoever"),
        ("a.md", "One.\n\nIt stands twice.\n", 3, "stands twice"),
    ],
)
def test_banned_word_is_found(tmp_path: Path, name: str, source: str, line: int, word: str) -> None:
    path = tmp_path / name
    path.write_text(source)
    assert [(found_line, found) for found_line, found, _ in plain_english.findings(path)] == [(line, word)]


def test_of_tests_only_the_openings_of_docstrings_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "test_a.py"
    path.write_text('def test_a():\n    """When it is told."""\n    # anew\n')
    assert [found for _, found, _ in plain_english.findings(path, words=False)] == ["When"]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.py", 'told = "anew"\nmend(told)\n'),  # identifiers, and strings of one word
        ("a.py", 'def f():\n    """Return whether it is no longer valid; there is no limit."""\n'),
        ("a.md", "```text\ntold\n```\n\nThe name `told` is code.\n"),
    ],
)
def test_plain_text_and_code_pass(tmp_path: Path, name: str, source: str) -> None:
    path = tmp_path / name
    path.write_text(source)
    assert list(plain_english.findings(path)) == []
