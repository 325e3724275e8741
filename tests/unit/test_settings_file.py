"""draftline.toml and the flags of serve: flags override the environment, which overrides the file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from draftline_server.cli import main
from draftline_server.settings import SETTINGS, Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and an environment without settings."""
    for name in [name for name in os.environ if name.startswith("DRAFTLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(
        main, arguments, env={f"DRAFTLINE_{name.upper()}": text for name, text in variables.items()}
    )


def listed(*arguments: str, **variables: str) -> dict[str, tuple[object, str]]:
    done = run(*arguments, "settings", "--json", **variables)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["name"].removeprefix("DRAFTLINE_").lower(): (row["value"], row["source"]) for row in rows}


def test_environment_overrides_the_file_and_the_source_is_listed(folder: Path) -> None:
    (folder / "draftline.toml").write_text('port = 1\nworkers = 2\nlog_format = "json"\nmetrics_port = ""\n')
    found = listed(workers="3")
    assert found["port"] == (1, "file draftline.toml")
    assert found["workers"] == (3, "environment")
    assert found["log_format"] == ("json", "file draftline.toml")
    assert found["metrics_port"] == (None, "file draftline.toml")
    assert found["host"] == ("127.0.0.1", "default")


def test_flags_override_environment_and_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "draftline.toml"
    file.write_text("port = 1\nworkers = 2\nqueue_limit = 7\n")
    monkeypatch.setenv("DRAFTLINE_PORT", "3")
    settings, sources = Settings.from_sources({"DRAFTLINE_PORT": "4", "DRAFTLINE_WORKERS": "5"}, file)
    assert (settings.server.port, settings.server.workers, settings.limits.queue_limit) == (4, 5, 7)
    assert sources == {
        "DRAFTLINE_PORT": "flag", "DRAFTLINE_WORKERS": "flag", "DRAFTLINE_QUEUE_LIMIT": f"file {file}"
    }  # fmt: skip


def test_serve_has_a_flag_for_each_setting(folder: Path) -> None:
    text = run("serve", "--help").output
    for name in SETTINGS:
        assert f"--{name.removeprefix('DRAFTLINE_').lower().replace('_', '-')} " in text
    wrong = run("serve", "--port", "x", port="1")
    assert (wrong.exit_code, "DRAFTLINE_PORT: 'x' is not an integer" in wrong.stderr) == (2, True)


def test_file_is_named_by_a_flag_or_a_variable(folder: Path) -> None:
    (folder / "draftline.toml").write_text("port = 1\n")
    (folder / "other.toml").write_text("port = 2\n")
    assert listed("--config", "other.toml")["port"] == (2, "file other.toml")
    assert listed(config="other.toml")["port"] == (2, "file other.toml")
    missing = run("--config", "none.toml", "settings")
    assert (missing.exit_code, "none.toml cannot be read: No such file" in missing.stderr) == (2, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workres = 2", "draftline.toml: workres is not a setting; did you mean workers?"),
        ("PORT = 2", "PORT is not a setting; did you mean port?"),
        ("draftline_port = 2", "draftline_port is not a setting; did you mean port?"),
        ("max_waiting = 2", "max_waiting is not a setting; did you mean queue_limit?"),
        ("[server]\nport = 1", "server is a table or a list"),
        ("port = [1]", "port is a table or a list"),
        ("port = ", "is not TOML"),
        ('port = "many"', "DRAFTLINE_PORT: 'many' is not an integer in the range 0 to 65535"),
        (
            "port = 70000",
            "DRAFTLINE_PORT: '70000' is not an integer in the range 0 to 65535 (from file draftline.toml)",
        ),
        ("port = true", "DRAFTLINE_PORT: 'true' is not an integer in the range"),
        ("workers = 1.5", "DRAFTLINE_WORKERS: '1.5' is not an integer"),
        ("port = 2020-01-01", "DRAFTLINE_PORT: '2020-01-01' is not an integer"),
        ("log_level = true", "DRAFTLINE_LOG_LEVEL: 'true' is not"),
        ("enable_partial_updates = 2", "DRAFTLINE_ENABLE_PARTIAL_UPDATES: '2' is not true or false"),
        ("port = 1\nport = 2", "is not TOML: Cannot overwrite a value"),
        ('database_url = "postgresql://u:secret@h/d"', "a password does not belong here"),
        ('database_url = "postgresql://u:secret@[::1/d"', "a password does not belong here"),
        ('database_url = "postgresql://u@h/d?password=secret"', "a password does not belong here"),
    ],
)
@pytest.mark.parametrize("command", [["settings"], ["serve"], ["doctor"]], ids=" ".join)
def test_invalid_file_is_an_error_that_names_the_key(folder: Path, text: str, message: str, command: list[str]) -> None:
    (folder / "draftline.toml").write_text(text)
    done = run(*command)
    assert done.exit_code == (1 if command == ["doctor"] and message.startswith("DRAFTLINE_") else 2), done.output
    assert message in done.stdout + done.stderr
    assert "secret" not in done.stdout + done.stderr


def test_password_in_a_flag_is_rejected(folder: Path) -> None:
    done = run("serve", "--database-url", "postgresql://u:secret@h/d")
    assert (done.exit_code, "passfile" in done.stderr, "secret" in done.output) == (2, True, False)


def test_invalid_value_names_the_source_that_counts(folder: Path) -> None:
    (folder / "draftline.toml").write_text('port = "x"\nworkers = "x"\nqueue_limit = "x"\n')
    lines = run("serve", "--port", "y", workers="z").stderr.splitlines()
    assert [line.rpartition(" is not an integer")[0].strip() for line in lines[1:]] == [
        "DRAFTLINE_PORT: 'y'", "DRAFTLINE_WORKERS: 'z'", "DRAFTLINE_QUEUE_LIMIT: 'x'"
    ]  # fmt: skip
    assert [line.partition(" (from ")[2] for line in lines[1:]] == ["a flag)", "", "file draftline.toml)"]


def test_file_with_a_byte_order_mark_is_read(folder: Path) -> None:
    (folder / "draftline.toml").write_bytes(b"\xef\xbb\xbfport = 5\ndata_dir = 7\nenable_partial_updates = false\n")
    found = listed()
    assert [found[name][0] for name in ("port", "data_dir", "enable_partial_updates")] == [5, "7", False]


def test_file_that_another_user_owns_is_named_with_this_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "draftline.toml").write_text("port = 1\n")

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    done = run("settings")
    assert (done.exit_code, done.stderr) == (
        2, f"Error: draftline.toml cannot be read by user {os.geteuid()}: Permission denied\n"
    )  # fmt: skip
