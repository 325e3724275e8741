"""Each way of a text to a terminal shows its control characters as escapes."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from draftline_server.cli import main
from draftline_server.cli.app import NotReachedError, Sections, reporting
from draftline_server.cli.terminal_text import TerminalConsole, confirm, echo, echo_json, echo_result
from draftline_server.domain.errors import OperatorError
from rich.panel import Panel
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

ROOT = Path(__file__).parents[2]
TEXT = "\x1b]0;gone\x1b\\ \x9b2J \u202edlog \x7f"
ESCAPED = r"\x1b]0;gone\x1b\ \x9b2J \u202edlog \x7f"
CONTROLS = set("\x1b\x07\r\x9b\u202e\x7f")

BANNED = {
    "import click\nclick.echo('a')": "click.echo",
    "import click as c\nc.echo('a')": "click.echo",
    "from click import echo\necho('a')": "click.echo",
    "import click\nf = click.secho": "click.secho",
    "import click\nclick.confirm('a')": "click.confirm",
    "import click\nclick.prompt('a')": "click.prompt",
    "from rich.console import Console\nConsole()": "rich.console.Console",
    "import rich\nrich.print('a')": "rich.print",
    "import sys\nsys.stdout.write('a')": "sys.stdout.write",
}


@pytest.mark.parametrize(("source", "name"), BANNED.items(), ids=BANNED)
def test_linter_rejects_output_past_the_module_that_escapes(source: str, name: str) -> None:
    assert f"`{name}` is banned" in lint(source, "service/draftline_server/cli/new_command.py")
    assert "is banned" not in lint(source, "service/draftline_server/cli/terminal_text.py")


def lint(source: str, path: str) -> str:
    """Return the findings of banned names in a source, as if it were in the file of that path."""
    command = [sys.executable, "-m", "ruff", "check", "--stdin-filename", path, "-"]
    return subprocess.run(command, input=source, cwd=ROOT, capture_output=True, text=True, check=False).stdout


def test_no_command_is_exempt_from_the_linter() -> None:
    commands = (ROOT / "service/draftline_server/cli").glob("*.py")
    assert [each.name for each in commands if re.search(r"noqa(:.*TID251|$)", each.read_text(), re.MULTILINE)] == []


@pytest.mark.parametrize("to_standard_error", [False, True])
def test_texts_are_printed_with_escapes(to_standard_error: bool) -> None:
    printed = output(lambda: echo(TEXT, err=to_standard_error))
    assert (printed.stdout, printed.stderr) == (("", ESCAPED + "\n") if to_standard_error else (ESCAPED + "\n", ""))
    assert output(lambda: echo("a\tb\n", nl=False)).stdout == "a\tb\n"


def test_json_is_printed_with_escapes_of_json() -> None:
    value = {TEXT: [TEXT, "é 日本"]}
    printed = output(lambda: echo_json(json.dumps(value, ensure_ascii=False))).stdout
    assert (json.loads(printed), CONTROLS & set(printed), "é 日本" in printed) == (value, set(), True)


@pytest.mark.parametrize("as_json", [False, True])
def test_result_is_printed_as_json_or_as_text(as_json: bool) -> None:
    printed = output(lambda: echo_result({"a": TEXT + "é"}, TEXT, as_json=as_json)).stdout
    assert printed == (json.dumps({"a": TEXT + "é"}) if as_json else ESCAPED) + "\n"


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("n\n", 1), ("", 1)])
def test_questions_are_asked_with_escapes_on_standard_error(answer: str, status: int) -> None:
    asked = output(lambda: confirm(f"Delete {TEXT}?"), answer)
    assert (asked.exit_code, asked.stdout, f"Delete {ESCAPED}? [y/N]: " in asked.stderr) == (status, "", True)


def output(act: Callable[[], None], answer: str = "") -> Any:
    return CliRunner().invoke(click.Command("act", callback=act), [], input=answer)


def table(cell: Any, title: str) -> Table:
    found = Table(title)
    found.add_row(cell)
    return found


RENDERED: dict[str, Any] = {
    "text": TEXT,
    "text of rich": Text(TEXT, "bold red"),
    "assembled": Text.assemble(("a", "green"), TEXT),
    "cell": table(TEXT, "a"),
    "cell of rich": table(Text(TEXT), 60 * "-"),  # rich crops it to the width of the column
    "nested": Panel(Panel(Text(TEXT), title=TEXT), title=Text(TEXT)),
}


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("rendered", RENDERED.values(), ids=RENDERED)
def test_consoles_print_escapes(rendered: Any, is_terminal: bool) -> None:
    console = TerminalConsole(file=io.StringIO(), width=200, force_terminal=is_terminal, color_system="standard")
    console.print(rendered)
    printed = re.sub("\x1b\\[[0-9;]*m", "", console.file.getvalue())  # type: ignore[attr-defined]  # the colors
    assert (CONTROLS & set(printed), ESCAPED in printed) == (set(), True)


def test_progress_on_a_terminal_prints_escapes_and_moves_the_cursor() -> None:
    console = TerminalConsole(file=io.StringIO(), width=200, force_terminal=True)
    with console.status("connecting") as status:
        status.update(TEXT)
    with Progress(TextColumn("{task.description}"), console=console, transient=True) as progress:
        progress.add_task(TEXT)
        progress.refresh()
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert ESCAPED in printed
    assert printed.count(r"\x1b]0;gone") >= 2  # cropped, as the description is a text of rich
    assert set(re.sub("\x1b\\[[?0-9;]*[A-Za-z]", "", printed)) & CONTROLS <= {"\r"}
    assert "\r\x1b[2K" in printed  # as rich moves the cursor before it prints a line again


ERRORS: list[Callable[[str], Exception]] = [
    ValueError, OperatorError, OSError, click.ClickException, click.UsageError, click.BadParameter, NotReachedError,
    lambda message: click.FileError("file", message),
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda each: each.__name__)
def test_errors_of_commands_are_printed_with_escapes(error: Callable[[str], Exception]) -> None:
    @reporting
    def fail() -> None:
        raise error(TEXT)

    group = Sections(name="draftline")
    group.add_command(click.Group("inner", commands=[click.Command("fail", callback=fail)]))
    failed = CliRunner().invoke(group, ["inner", "fail"])
    assert (CONTROLS & set(failed.stderr), ESCAPED in failed.stderr) == (set(), True)


@pytest.mark.parametrize("arguments", [[TEXT], ["--" + TEXT], ["list", "--" + TEXT], ["sync", TEXT]])
def test_errors_of_the_command_line_are_printed_with_escapes(arguments: list[str]) -> None:
    failed = CliRunner().invoke(main, arguments)
    assert (failed.exit_code, CONTROLS & set(failed.stderr)) == (2, set())
    assert re.search(r"\\x1b]0;gone\\x1b\\+ \\x9b2J", failed.stderr)


FAILURES = {
    "error": "raise RuntimeError(TEXT)",
    "cause": "raise RuntimeError('outer') from RuntimeError(TEXT)",
    "thread": "t = threading.Thread(target=lambda: (_ for _ in ()).throw(RuntimeError(TEXT))); t.start(); t.join()",
    "warning": "warnings.warn(TEXT)",
}


@pytest.mark.parametrize(("kind", "failing"), FAILURES.items(), ids=FAILURES)
def test_tracebacks_and_warnings_are_printed_with_escapes(kind: str, failing: str) -> None:
    program = f"""
import threading, warnings
from draftline_server import __main__, cli
def command():
    {failing.replace("TEXT", ascii(TEXT))}
cli.main = command
__main__.main()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (kind in ("error", "cause"), "")
    assert (CONTROLS & set(ended.stderr), ESCAPED in ended.stderr) == (set(), True)
    assert ("Traceback (most recent call last):\n" in ended.stderr) is (kind != "warning")
