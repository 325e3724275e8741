"""The command line without a service: what it explains, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from draftline_server.cli import main

COMMANDS = ["serve", "migrate", "check", "health", "token", "service-key", "import", "collections", "demo", "bench"]
IMPORT = ["--tenant", "t", "--collection", "c", "--address", "127.0.0.1:1"]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_help_lists_every_command() -> None:
    status, output = run("-h")
    assert status == 0
    assert sorted(main.commands) == sorted(COMMANDS)
    assert [command for command in COMMANDS if f"\n  {command}" not in output] == []


@pytest.mark.parametrize("command", [*COMMANDS, "collections list", "collections show", "collections put"])
def test_help_of_a_command_says_what_it_does_and_each_option(command: str) -> None:
    status, output = run(*command.split(), "-h")
    assert status == 0
    found: click.Command = main
    for name in command.split():
        assert isinstance(found, click.Group)
        found = found.commands[name]
    assert found.get_short_help_str()
    options = [each for each in found.params if isinstance(each, click.Option)]
    assert [each.opts for each in options if not each.help] == []
    assert output.startswith("Usage: main " + command)


def test_unknown_command_is_refused() -> None:
    assert run("fly")[0] == 2


@pytest.mark.parametrize("ids", [[], ["--id", "a", "--id-row"], ["--id", "a", "--id-from", "b"]])
def test_import_wants_one_rule_for_ids(tmp_path: Path, ids: list[str]) -> None:
    (tmp_path / "a.json").write_text("[]")
    status, output = run("import", str(tmp_path / "a.json"), *IMPORT, *ids)
    assert status == 2
    assert "Say where ids come from" in output


def test_import_of_a_missing_file_is_refused() -> None:
    status, output = run("import", "no-such.json", *IMPORT, "--id", "id")
    assert status == 2
    assert "no-such.json" in output


def test_import_of_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("")
    status, output = run("import", str(tmp_path / "a.xlsx"), *IMPORT, "--id", "id")
    assert status == 1
    assert "name it with --format" in output


def test_declaration_is_given_in_one_way(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    where = ["--tenant", "t", "--address", "127.0.0.1:1"]
    status, output = run("collections", "put", "c", *where, "--file", str(tmp_path / "a.json"), "--field", "/a=text")
    assert status == 2
    assert "--file holds the whole declaration" in output


@pytest.mark.parametrize("field", ["/a", "/a=colour", "a=text"])
def test_field_that_cannot_be_declared_is_refused(field: str) -> None:
    status, _ = run("collections", "put", "c", "--tenant", "t", "--address", "127.0.0.1:1", "--field", field)
    assert status != 0


def test_health_of_nothing_is_no_success() -> None:
    assert run("health", "--address", "127.0.0.1:1", "--timeout", "2") == (1, "UNAVAILABLE\n")
