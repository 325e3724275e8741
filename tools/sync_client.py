"""Generate the blocking client, client/draftline/_sync, from the asyncio one in client/draftline/_async.

`unasync` replaces the tokens: it removes `async` and `await`, and maps names to those of the
blocking client. The same is then done to the text of docstrings and comments, which `unasync`
leaves alone, so that the examples in them fit the client that they belong to.

    python tools/sync_client.py            writes the files
    python tools/sync_client.py --check    exits 1 if the files are not up to date with _async
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import unasync
from generate import ROOT
from tokenize_rt import Token, src_to_tokens, tokens_to_src

PACKAGE = ROOT / "client" / "draftline"
SOURCE = PACKAGE / "_async"
TARGET = PACKAGE / "_sync"
HEAD = "# Generated from draftline/_async/{name} by `make generate`; never edited.\n"

NAMES = {
    "_async": "_sync",
    "_aio": "_threads",
    "asyncio": "threading",  # of it, only `asyncio.Event` may be used in _async
    "AsyncBulkWriter": "BulkWriter",
    "AsyncCachedReader": "CachedReader",
    "AsyncClient": "Client",
    "AsyncSession": "Session",
    "AsyncTypedBulkWriter": "TypedBulkWriter",
    "AsyncTypedCollection": "TypedCollection",
    "AsyncWatch": "Watch",
}

# The sentences of docstrings in which the two clients differ.
PHRASES = {
    "The client for asyncio, from which the blocking one in `draftline._sync` is generated.": "The blocking client.",
    "A client for asyncio, for use in one event loop.": "A blocking client, safe to share between threads.",
    "updates them by a watch. For use in one event loop.": "updates them by a watch. Safe to share between threads.",
    "Use it in an `async with` block": "Use it in a `with` block",
    "at the end of an `async with` block": "at the end of a `with` block",
    "Iterate in one task.": "Iterate in one thread.",
    "called from any task": "called from any thread",
    "An interrupted or cancelled wait for an item loses no item.": "An interrupted wait for an item loses no item.",
    "an iterable or asynchronous iterable of pairs": "an iterable of pairs",
}

PATTERNS = (
    (re.compile(r"\basync (?=(?:with|for|def)\b)"), ""),
    (re.compile(r"\bawait "), ""),
    (re.compile(r"\banext\("), "next("),
    (re.compile(r"\bAsync(?=(?:BulkWriter|CachedReader|Client|Session|TypedBulkWriter|TypedCollection|Watch)\b)"), ""),
)


def sync_text(text: str) -> str:
    """Return the text of a docstring or a comment for the blocking client."""
    for phrase, replacement in PHRASES.items():
        text = text.replace(phrase, replacement)
    for pattern, replacement in PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def sync_token(token: Token) -> Token:
    is_text = token.name == "COMMENT" or (token.name == "STRING" and token.src.startswith('"""'))
    return token._replace(src=sync_text(token.src)) if is_text else token


def ruff(code: str, path: Path, *command: str) -> str:
    arguments = [sys.executable, "-m", "ruff", *command, "--quiet", "--stdin-filename", str(path), "-"]
    return subprocess.run(arguments, input=code, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def generate() -> dict[str, str]:
    """Return the text of each file of the blocking client, by name."""
    source = "".join(path.read_text() for path in SOURCE.glob("*.py"))
    unused = [phrase for phrase in PHRASES if phrase not in source]
    if unused:
        raise SystemExit(f"PHRASES has sentences that are not in {SOURCE.relative_to(ROOT)}: {unused}")
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shutil.copytree(SOURCE, work / "_async", ignore=shutil.ignore_patterns("__pycache__"))
        paths = sorted((work / "_async").glob("*.py"))
        rule = unasync.Rule("/_async/", "/_sync/", additional_replacements=NAMES)
        unasync.unasync_files([str(path) for path in paths], [rule])
        for path in sorted((work / "_sync").glob("*.py")):
            code = tokens_to_src(map(sync_token, src_to_tokens(path.read_text())))
            target = TARGET / path.name
            code = ruff(
                HEAD.format(name=path.name) + code,
                target,
                "check",
                "--fix-only",
                "--unsafe-fixes",
                "--select",
                "F401,I,UP028",
            )
            files[path.name] = ruff(code, target, "format")
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    files = generate()
    present = {path.name: path.read_text() for path in TARGET.glob("*.py")}
    if not check:
        for name in present.keys() - files.keys():
            (TARGET / name).unlink()
        for name, code in files.items():
            (TARGET / name).write_text(code)
    elif files != present:
        different = sorted(name for name in files.keys() | present.keys() if files.get(name) != present.get(name))
        raise SystemExit(f"client/draftline/_sync is not up to date with _async, run `make generate`: {different}")
    else:
        print(f"the {len(files)} files of the blocking client are up to date with the asyncio client")


if __name__ == "__main__":
    main()
