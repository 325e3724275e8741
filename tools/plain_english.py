"""Report words in docstrings, comments, messages and documents that have a plainer form.

Run by `make check`.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHECKED = (
    "service", "client", "bench", "tools", "protos", "migrations", "docs", "deploy", "examples",
    "README.md", "CONTRIBUTING.md",
)  # fmt: skip
OPENINGS_CHECKED = ("tests/",)  # only the first words of docstrings
SUFFIXES = {".py", ".proto", ".sql", ".md", ".yaml", ".yml"}
IGNORED = (  # generated, or frozen, or the list of words itself
    "client/draftline/v1/", "client/draftline/_sync/", "docs/contract.md", "migrations/schema.sql", "migrations/sql/",
    "migrations/versions/", "tools/plain_english.py",
)  # fmt: skip

# A pattern, and what to write instead. Case is ignored.
WORDS = {
    r"whoever|whomever|who comes (?:later|after)": "name the person or program: the caller, the operator, a client",
    r"some(?:body)|any(?:body)|every(?:body)": "someone, anyone, all callers",
    r"anew": "again",
    r"for ever": "forever",
    r"for good": "permanently",
    r"told": "reported, returned, logged, named",
    r"tells": "reports, shows, means",
    r"take[ns]? back|taking back": "revert, undo, cancel",
    r"declarations?": "collection spec",
    r"kept answers?": "stored response",
    r"in vain|comes? to nothing|heed(?:s|ed)?": "without effect, follow",
    r"mend(?:s|ed|ing)?": "fix, repair",
    r"(?:in|out of) step": "consistent, inconsistent",
    r"he|him|his|himself": "the caller, it, they",
    r"(?<!there\s)(?:is|are|was|were) no (?!longer|more\b|other|exception|deeper)\w+": "is not a",
    r"(?:this|that|the) very": "this, that, the same",
    r"no(?:body|thing) (?:\w+ ){0,4}but": "only",
    r"stands? (?:twice|against|in the way)": "appears twice, prevents",
    r"(?:where|there|here)(?:in|of|to|upon)|wherefore|whence|thence|whither|hither|thither": "of it, from where, why",
    r"lest|unto|betimes|nigh": "so that ... not, to, early, near",
    r"to be had": "available",
    r"so many at once": "at most n at the same time",
    r"be it": "whether it is",
}
OPENINGS = {"What", "How", "Whether", "Of", "Who", "Whom", "Whose", "That", "Which", "Why", "Where", "When"}
BANNED = [
    (re.compile(rf"\b(?:{pattern})\b".replace(" ", r"\s+"), re.IGNORECASE), plain) for pattern, plain in WORDS.items()
]

STRINGS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}  # the latter from Python 3.12 on

Text = tuple[int, str]  # the number of its first line, and the text


def main() -> int:
    """Print the findings, and return 1 if there are any."""
    failures = 0
    for path in files():
        name = str(path.relative_to(ROOT))
        for line, word, plain in findings(path, words=not name.startswith(OPENINGS_CHECKED)):
            failures += 1
            sys.stderr.write(f"{name}:{line}: {word!r}: write {plain}\n")
    return 1 if failures else 0


def files() -> Iterator[Path]:
    """Yield the checked files that Git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *CHECKED, *OPENINGS_CHECKED]
    for name in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        path = ROOT / name
        if path.suffix in SUFFIXES and path.exists() and not name.startswith(IGNORED):
            yield path


def findings(path: Path, *, words: bool = True) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the words and their plain form for each finding in a file; without `words`, only openings."""
    source = path.read_text()
    for first, text in texts(path.suffix, source) if words else ():
        for pattern, plain in BANNED:
            for match in pattern.finditer(text):
                yield first + text.count("\n", 0, match.start()), " ".join(match[0].split()), plain
    if path.suffix == ".py":
        for line, docstring in docstrings(source):
            opening = docstring.split(maxsplit=1)[0] if docstring.strip() else ""
            if opening in OPENINGS:
                yield line, opening, "an imperative sentence (Return ..., Raise ...) or a noun phrase"


def texts(suffix: str, source: str) -> Iterator[Text]:
    """Yield the texts that people read: comments and sentences in strings, or the prose of a document."""
    if suffix == ".py":
        yield from python_texts(source)
    elif suffix == ".md":
        yield from markdown_texts(source)
    else:
        marks = {".proto": "//", ".sql": "--"}
        comment = re.compile(rf"(?:^|\s){marks.get(suffix, '#')}(.*)")
        block: list[str] = []
        for number, line in enumerate([*source.splitlines(), ""], start=1):
            if found := comment.search(line):
                block.append(found[1])
            elif block:
                yield number - len(block), "\n".join(block)
                block = []


def python_texts(source: str) -> Iterator[Text]:
    """Yield strings of several words, and comments, those of consecutive lines as one."""
    block: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        if token.type == tokenize.COMMENT:
            if block and line != last + 1:
                yield last - len(block) + 1, "\n".join(block)
                block = []
            block.append(token.string.lstrip("# "))
            last = line
        elif token.type in STRINGS and " " in token.string:
            yield line, token.string
    if block:
        yield last - len(block) + 1, "\n".join(block)


def docstrings(source: str) -> Iterator[Text]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring is not None:
                yield node.body[0].lineno, docstring


def markdown_texts(source: str) -> Iterator[Text]:
    """Yield the prose of a document: no code blocks, and no code within a line."""
    is_code = False
    lines = []
    for line in source.splitlines():
        is_code ^= line.startswith("```")
        lines.append("" if is_code else re.sub(r"`[^`]*`", "``", line))
    yield 1, "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
