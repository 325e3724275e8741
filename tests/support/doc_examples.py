"""Run the examples of documents and docstrings unchanged, except for the address of the service.

A line `print(...)  # this` must print `this`.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import shlex
import sys
import tokenize
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from textwrap import dedent
from typing import Any

from draftline import Client

README = (Path(__file__).parents[2] / "README.md").read_text()
ADDRESS = "127.0.0.1:50051"
TRIES = 1_000  # writes until a watch must have printed something

# `buf curl` takes the place of grpcurl.
GRPCURL = f"""
grpcurl() {{
    local data= method=${{@: -1}} address=${{@: -2:1}}
    [ "$2" != -d ] || data=$3
    if [ "$method" = list ]; then
        set -- --list-services "http://$address"
    else
        set -- --data "$data" "http://$address/$method"
    fi
    {shlex.quote(str(Path(sys.executable).with_name("buf")))} curl --protocol grpc --http2-prior-knowledge "$@"
}}
"""

_INDENTED = re.compile(r"(?:^|\n\n)((?: {4}[^\n]*(?:\n|$)|\n(?= {4}))+)")


def blocks(document: str, language: str) -> list[str]:
    """Return the fenced code blocks of a Markdown document."""
    return re.findall(rf"^```{language}\n(.*?)^```", document, re.MULTILINE | re.DOTALL)


def examples(docstring: str) -> list[str]:
    """Return the indented code of a docstring; indented text under `Args:` and the like is not code."""
    found = [dedent(code).strip() for code in _INDENTED.findall(inspect.cleandoc(docstring))]
    return [code for code in found if _is_code(code)]


def expected(code: str) -> list[str]:
    """Return the expected outputs in the comments of print lines."""
    tokens = tokenize.generate_tokens(StringIO(code).readline)
    comments = (each for each in tokens if each.type == tokenize.COMMENT)
    return [each.string.removeprefix("# ") for each in comments if each.line.lstrip().startswith("print(")]


def run(code: str, names: dict[str, Any], output: StringIO | None = None) -> str:
    """Run code that may `await`, with these names, which it may extend, and return its output."""
    output = StringIO() if output is None else output
    compiled = compile(code, "<shown>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with redirect_stdout(output):
        result = eval(compiled, names)
        if inspect.iscoroutine(result):
            asyncio.run(result)
    check(code, output.getvalue())
    return output.getvalue()


def run_watch(code: str, names: dict[str, Any], writer: Client) -> None:
    """Run code that watches with `client` and does not end, until it has printed what the writer did to "movies"."""
    output = StringIO()
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(run, code, names, output)
        for votes in range(TRIES):
            writer.patch_content("movies", "m-2", {"Votes": votes, "Major Genre": "Drama"})
            writer.delete_content("movies", "m-4", allow_missing=True)
            writer.undelete_content("movies", "m-4")
            if output.getvalue() or watching.done():
                break
        names["client"]._is_closed = True  # ends a watch at its next message, whichever loop it is in
        writer.patch_content("movies", "m-2", {"Votes": -1})
        writer.delete_content("movies", "m-4")
        watching.result()
    assert output.getvalue()


def check(code: str, printed: str) -> None:
    """Fail unless the output contains what the code announces, in that order."""
    lines = iter(printed.splitlines())
    for wanted in expected(code):
        assert wanted in lines, f"{code}\n\nprinted:\n{printed}\nand not where it should: {wanted}"


def at(code: str, address: str, **replaced: str) -> str:
    """Return the code with another address of the service."""
    for shown, actual in ({ADDRESS: address} | replaced).items():
        code = code.replace(shown, actual)
    return code


def documented(public: Mapping[str, Any]) -> dict[str, str]:
    """Return the docstrings of these objects and of the methods of classes, by name."""
    found = {}
    for name, each in public.items():
        found[name] = each.__doc__ or ""
        if inspect.isclass(each):
            methods = inspect.getmembers(each, inspect.isfunction)
            members = {name: method for name, method in methods if name == "__init__" or not name.startswith("_")}
            found |= {f"{name}.{method}": member.__doc__ or "" for method, member in members.items()}
    return found


def _is_code(text: str) -> bool:
    """Prose under `Args:` or `Raises:` is `word: text`, which is no statement that does anything."""
    try:
        tree = compile(text, "<shown>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
    except SyntaxError:
        return False
    return not all(isinstance(each, ast.AnnAssign) for each in tree.body)
