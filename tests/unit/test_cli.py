"""The command line without a service: what it explains, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from draftline_server.auth.keys import digest_of
from draftline_server.cli import main
from draftline_server.cli.app import Sections
from support.cli_commands import leaves

COMMANDS = list(main.commands)
WITHOUT_DATA = {
    "serve", "demo", "generate",  # these go on for long, or show what is for people
    "sync", "sync retry", "sync resolve", "sync link", "sync pause", "sync resume",  # these return nothing
}  # fmt: skip
IMPORT = ["--tenant", "t", "--collection", "c", "--address", "127.0.0.1:1"]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize("arguments", [["migrate"], ["--help"]], ids=" ".join)
def test_module_that_is_not_installed_is_named(arguments: list[str]) -> None:
    module = "asyncpg" if arguments == ["migrate"] else "structlog"
    program = f"""
import sys
sys.modules[{module!r}] = None
from draftline_server.__main__ import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1), ended.stderr
    assert f"the module {module} is missing: run `pip install draftline-server`" in ended.stderr


def test_interrupt_before_there_is_a_command_shows_no_stack_trace() -> None:
    interrupted = """
import builtins, runpy
real = builtins.__import__
def interrupting(name, *rest, **named):
    if name == "cli":
        raise KeyboardInterrupt
    return real(name, *rest, **named)
builtins.__import__ = interrupting
runpy.run_module("draftline_server", run_name="__main__")
"""
    ended = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "\nAborted!\n")


def test_command_that_asks_a_service_loads_neither_that_nor_what_speaks_to_a_database() -> None:
    """Imports take a second, which a frequent health check would have to pay."""
    asked = """
import sys
from draftline_server.cli import main
try:
    main(["health", "--address", "127.0.0.1:1", "--timeout", "0.1"])
finally:
    print([name for name in ("draftline_server.app", "asyncpg", "sqlalchemy", "alembic") if name in sys.modules])
"""
    ended = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False)
    assert ended.stdout == "UNAVAILABLE\n[]\n"


def test_help_lists_every_command() -> None:
    status, output = run("-h")
    assert status == 0
    assert [command for command in COMMANDS if f"\n  {command}" not in output] == []


def test_every_command_stands_in_one_section() -> None:
    assert isinstance(main, Sections)
    listed = [name for texts in main.sections.values() for name in texts]
    assert sorted(listed) == sorted(main.commands)


def test_list_of_commands_has_the_first_sentence_of_the_help_of_each() -> None:
    assert isinstance(main, Sections)
    listed = {name: text for texts in main.sections.values() for name, text in texts.items()}
    assert listed == {name: command.get_short_help_str(200) for name, command in main.commands.items()}


def test_list_of_commands_and_start_of_serve_import_neither_sqlalchemy_nor_the_client() -> None:
    program = (
        "import sys, draftline_server.cli as cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "cli.main.commands['serve']\n"
        "sys.exit(str(sorted({'sqlalchemy', 'asyncpg', 'grpc', 'draftline'} & set(sys.modules))))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.stderr == "[]\n"


def test_help_tells_each_command_whole_and_what_exit_statuses_mean() -> None:
    _, output = run("-h")
    assert "..." not in output.partition("Run the service:")[2]
    assert [line.split()[0] for line in output.partition("Exit status:\n")[2].splitlines()] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(("name", "command"), leaves(main), ids=[name for name, _ in leaves(main)])
def test_every_command_with_data_tells_it_as_json(name: str, command: click.Command) -> None:
    has_json = any("--json" in each.opts for each in command.params)
    assert has_json is (name not in WITHOUT_DATA)


def test_near_name_is_told_for_an_unknown_command() -> None:
    status, output = run("serv")
    assert status == 2
    assert "Did you mean 'serve'?" in output


def test_near_name_is_told_for_what_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAFTLINE_PROT", "6000")
    monkeypatch.setenv("DRAFTLINE_TOKEN", "the command line's own")
    result = CliRunner().invoke(main, ["health", "--address", "127.0.0.1:1", "--timeout", "1"])
    assert result.stderr.startswith("Unknown setting DRAFTLINE_PROT. Did you mean DRAFTLINE_PORT?\nno service responds")


def test_token_is_told_as_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret of more than 32 bytes, to sign with")
    for name, value in {"SECRET_FILE": tmp_path / "secret", "ISSUER": "us", "AUDIENCE": "us"}.items():
        monkeypatch.setenv(f"DRAFTLINE_AUTH_{name}", str(value))
    status, output = run("token", "--user", "ada", "--tenant", "acme", "--scope", "content:read", "--json")
    told = json.loads(output)
    assert (status, told.pop("token").count(".")) == (0, 2)
    assert told == {"user": "ada", "tenants": ["acme"], "scopes": ["content:read"], "expires_in_s": 3600}


def test_service_key_is_told_as_json() -> None:
    status, output = run("service-key", "billing", "--tenant", "acme", "--json")
    told = json.loads(output)
    assert (status, digest_of(told["key"])) == (0, told["entry"]["sha256"])
    assert told["entry"]["name"] == "billing"


@pytest.mark.usefixtures("short_pauses")
def test_service_out_of_reach_has_an_exit_status_of_its_own() -> None:
    status, output = run("collections", "list", "--tenant", "t", "--address", "127.0.0.1:1")
    assert status == 3
    assert "`draftline serve` starts it" in output


@pytest.mark.parametrize("command", ["serve", "migrate", "check"])
def test_database_out_of_reach_has_an_exit_status_of_its_own(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("DRAFTLINE_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setenv("DRAFTLINE_LOG_LEVEL", "error")
    status, output = run(command)
    assert status == 3
    assert "reach" in output
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize("command", [*COMMANDS, *(name for name, _ in leaves(main) if " " in name)])
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
    assert "Pass one of --id" in output


def test_import_of_a_missing_file_is_refused() -> None:
    status, output = run("import", "no-such.json", *IMPORT, "--id", "id")
    assert status == 2
    assert "no-such.json" in output


def test_import_of_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("")
    status, output = run("import", str(tmp_path / "a.xlsx"), *IMPORT, "--id", "id")
    assert status == 1
    assert "pass --format" in output


def test_declaration_is_given_in_one_way(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    where = ["--tenant", "t", "--address", "127.0.0.1:1"]
    status, output = run("collections", "put", "c", *where, "--file", str(tmp_path / "a.json"), "--field", "/a=text")
    assert status == 2
    assert "--file contains the whole spec" in output


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("/a", "takes PATH=TYPE, not '/a'"),
        ("/a=colour", "'colour' is not a type; use one of text, number, boolean, date, timestamp"),
        ("a=text", "a JSON Pointer, such as /a, not 'a'"),
    ],
)
def test_field_that_cannot_be_declared_is_refused(field: str, told: str) -> None:
    status, output = run("collections", "put", "c", "--tenant", "t", "--address", "127.0.0.1:1", "--field", field)
    assert status == 2
    assert told in output


def test_health_is_told_as_json() -> None:
    result = CliRunner().invoke(main, ["health", "--address", "127.0.0.1:1", "--timeout", "2", "--json"])
    assert (result.exit_code, json.loads(result.stdout)["state"]) == (1, "UNAVAILABLE")


def test_health_of_nothing_is_no_success() -> None:
    result = CliRunner().invoke(main, ["health", "--address", "127.0.0.1:1", "--timeout", "2"])
    assert (result.exit_code, result.stdout) == (1, "UNAVAILABLE\n")
    assert result.stderr.startswith("no service responds at 127.0.0.1:1\nIs the service running there?")


def test_top_asks_where_the_settings_say_by_ipv6_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAFTLINE_METRICS_HOST", "::1")
    monkeypatch.setenv("DRAFTLINE_METRICS_PORT", "1")
    status, output = run("top", "--once")
    assert status == 3
    assert "no metrics at http://[::1]:1/metrics" in output
