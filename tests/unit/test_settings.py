"""Settings come from the environment alone, and what cannot be used is refused by name."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import NoneType
from typing import get_args

import pytest
from click.testing import CliRunner
from draftline_server.cli import main
from draftline_server.settings import PREFIX, RENAMED, SETTINGS, Settings
from pydantic import ValidationError


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


def test_defaults_serve_on_loopback() -> None:
    settings = Settings()
    assert (settings.server.host, settings.server.port, settings.database.url) == ("127.0.0.1", 50051, "")
    assert settings.database.enable_partial_updates


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAFTLINE_PORT", "6000")
    monkeypatch.setenv("DRAFTLINE_ENABLE_PARTIAL_UPDATES", "false")
    monkeypatch.setenv("DRAFTLINE_DATA_DIR", "elsewhere")
    settings = Settings()
    assert (settings.server.port, settings.database.enable_partial_updates, settings.database.data_dir) == (
        6000,
        False,
        Path("elsewhere"),
    )


def test_file_of_settings_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("DRAFTLINE_PORT=6000\n")
    monkeypatch.chdir(tmp_path)
    assert Settings().server.port == 50051


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "65536"),
        ("database_url", "mysql://somebody@127.0.0.1/x"),
        ("port", "http"),
        ("max_content_depth", "33"),
        ("pool_size", "0"),
        ("drain_timeout_s", "0"),
        ("change_retention_days", "1"),
        ("log_format", "xml"),
        ("enable_partial_updates", "perhaps"),
    ],
)
def test_value_that_cannot_be_used_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"DRAFTLINE_{name.upper()}", value)
    with pytest.raises(ValidationError):
        Settings()
    refused = CliRunner().invoke(main, ["health"])
    assert refused.exit_code == 2
    assert f"DRAFTLINE_{name.upper()}: " in refused.output
    assert "Traceback" not in refused.output


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("PORT", "65536", "'65536' is not an integer in the range 0 to 65535"),
        ("PORT", "http", "'http' is not an integer in the range 0 to 65535"),
        ("METRICS_PORT", "-1", "'-1' is not an integer in the range 0 to 65535"),
        ("POOL_SIZE", "0", "'0' is not an integer in the range ≥ 1"),
        ("DRAIN_TIMEOUT_S", "0", "'0' is not a number in the range > 0"),
        ("CALL_TIMEOUT_S", "inf", "'inf' is not a number in the range > 0"),
        ("TRACE_SAMPLE_RATIO", "1.5", "'1.5' is not a number in the range 0 to 1"),
        ("REFLECTION", "perhaps", "'perhaps' is not true or false"),
        ("LOG_LEVEL", "loud", "'loud' is not debug, info, warning or error"),
        ("AUTH_USER_CLAIM", "", "must not be empty"),
        ("CHANGE_RETENTION_DAYS", "1", "must be 0 or at least 2, "),
    ],
)
def test_refused_value_is_told_with_its_setting_and_its_range(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(f"DRAFTLINE_{name}", value)
    refused = CliRunner().invoke(main, ["health"])
    assert refused.exit_code == 2
    assert f"\n  DRAFTLINE_{name}: {problem}" in refused.output


def test_all_refused_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"PORT": "x", "AUTH_LEEWAY_S": "-1", "LOG_FORMAT": "xml", "MAX_CALLS": "0"}
    for name, value in given.items():
        monkeypatch.setenv(f"DRAFTLINE_{name}", value)
    refused = CliRunner().invoke(main, ["health"]).output
    assert [name for name in given if f"DRAFTLINE_{name}: " in refused] == list(given)


def test_refused_address_is_not_shown_as_it_may_hold_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAFTLINE_DATABASE_URL", "mysql://ada:hush@127.0.0.1/x")
    monkeypatch.setenv("DRAFTLINE_TRACE_ENDPOINT", "ftp://ada:hush@127.0.0.1")
    refused = CliRunner().invoke(main, ["health"])
    assert refused.output.count("DRAFTLINE_") == 2
    assert "hush" not in refused.output


OPTIONAL = [name for name, setting in SETTINGS.items() if NoneType in get_args(setting.info.annotation)]


@pytest.mark.parametrize("name", OPTIONAL)
def test_empty_variable_of_an_optional_setting_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    assert value_of(name) is None


def test_setting_may_be_passed_by_group_or_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAFTLINE_PORT", "6000")
    assert Settings(port=7000).server.port == Settings(server={"port": 7000}).server.port == 7000
    assert Settings(host="::1").server.port == 6000
    whole = Settings(port=7000, pool_size=3, metrics_port=None)
    assert Settings(**whole.model_dump(mode="json")) == whole


def test_copy_of_settings_has_the_other_values_alone() -> None:
    before = Settings()
    after = before.replaced(port=0, workers=3, log_level="error")
    changed = {name for name, setting in SETTINGS.items() if setting.value(before) != setting.value(after)}
    assert changed == {"DRAFTLINE_PORT", "DRAFTLINE_WORKERS", "DRAFTLINE_LOG_LEVEL"}


def value_of(name: str) -> object:
    """The value of the setting with this environment variable."""
    return SETTINGS[name].value(Settings())


@pytest.mark.parametrize(("former", "name"), RENAMED.items())
def test_former_name_of_a_setting_is_read_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, former: str, name: str
) -> None:
    text = isinstance(value_of(name), str)
    monkeypatch.setenv(former, "http://127.0.0.1:1" if text else "1")
    assert value_of(name) == ("http://127.0.0.1:1" if text else 1)
    warned = CliRunner().invoke(main, ["health", "--address", "127.0.0.1:1", "--timeout", "0.1"]).stderr
    assert "setting_renamed" in warned
    assert f"setting={former}" in warned
    assert f"set {name}" in warned
    assert "Unknown setting" not in warned


def test_setting_under_its_current_name_brings_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAFTLINE_QUEUE_LIMIT", "7")
    assert "setting_renamed" not in CliRunner().invoke(main, ["health", "--address", "127.0.0.1:1"]).output


@pytest.mark.parametrize(("former", "name"), RENAMED.items())
def test_setting_in_both_forms_is_refused_with_both_names(
    monkeypatch: pytest.MonkeyPatch, former: str, name: str
) -> None:
    for each in (former, name):
        monkeypatch.setenv(each, "1")
    refused = CliRunner().invoke(main, ["health"])
    assert refused.exit_code == 2
    assert f"{former} is the former name of {name}, and both are set: unset {former}" in refused.output


def test_unusable_value_under_a_former_name_is_refused_by_both_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAFTLINE_RETRIES", "0")
    refused = CliRunner().invoke(main, ["health"])
    assert refused.exit_code == 2
    assert "DRAFTLINE_MAX_ATTEMPTS (set as DRAFTLINE_RETRIES): " in refused.output


def test_former_names_are_not_those_of_other_settings() -> None:
    assert not RENAMED.keys() & SETTINGS.keys()
    assert set(RENAMED.values()) <= SETTINGS.keys()


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_says_what_it_means(name: str) -> None:
    description = SETTINGS[name].info.description
    assert description
    assert description[0].isupper()
    assert description.endswith(".")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"auth_jwks": "keys.json"}, "tokens need both DRAFTLINE_AUTH_ISSUER and DRAFTLINE_AUTH_AUDIENCE"),
        ({"auth_secret_file": "secret", "auth_issuer": "x"}, "tokens need both"),
        ({"tls_certificate_file": "cert.pem"}, "TLS needs both"),
        ({"tls_key_file": "key.pem"}, "TLS needs both"),
        ({"tls_client_ca_file": "ca.pem"}, "DRAFTLINE_TLS_CLIENT_CA_FILE is of no use without TLS"),
    ],
)
def test_settings_that_need_each_other_are_refused_alone(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], told: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"DRAFTLINE_{name.upper()}", value)
    refused = CliRunner().invoke(main, ["health"])
    assert refused.exit_code == 2
    assert f"\n  {told}" in refused.output


UNITS = {"": 1, " s": 1, " bytes": 1, " KiB": 1024, " MiB": 1024**2}


def test_limits_in_the_documentation_are_the_defaults() -> None:
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    table = text.partition("\n## Limits\n")[2].partition("\n## ")[0]
    told = {}
    for values, names in re.findall(r"^\| .*? \| (.*?) \| (`.*?`) \| .*?\|$", table, re.MULTILINE):
        for value, name in zip(values.split("; "), names.split("; "), strict=True):
            (number, unit) = re.fullmatch(r"([\d,]+)(.*)", value).groups()  # type: ignore[union-attr]
            told[name.strip("`").lower()] = int(number.replace(",", "")) * UNITS[unit]
    assert len(told) > 15
    assert told == {name: value_of(PREFIX + name.upper()) for name in told}


def listed(*options: str) -> list[dict[str, object]]:
    result = CliRunner().invoke(main, ["settings", "--json", *options])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_list_of_settings_has_each_with_its_default_and_range() -> None:
    rows = listed()
    assert [row["name"] for row in rows] == list(SETTINGS)
    (port,) = [row for row in rows if row["name"] == "DRAFTLINE_PORT"]
    assert (port["value"], port["default"], port["range"]) == (50051, 50051, "0 to 65535")
    assert listed("--changed") == []


def test_list_of_settings_has_the_values_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAFTLINE_RETRIES", "9")
    monkeypatch.setenv("DRAFTLINE_METRICS_PORT", "")
    assert {row["name"]: row["value"] for row in listed("--changed")} == {
        "DRAFTLINE_MAX_ATTEMPTS": 9, "DRAFTLINE_METRICS_PORT": None,
    }  # fmt: skip
    shown = CliRunner().invoke(main, ["settings", "--changed"]).stdout
    assert re.search(r"^DRAFTLINE_MAX_ATTEMPTS +9 +environment +5 +≥ 1 +Maximum attempts", shown, re.MULTILINE)


@pytest.mark.parametrize(
    "url",
    ["postgresql://ada:hush@h/x", "postgres://h/x?user=ada&password=hush&sslmode=require"],
)
def test_list_of_settings_shows_no_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DRAFTLINE_DATABASE_URL", url)
    (row,) = listed("--changed")
    assert "***" in str(row["value"])
    assert "hush" not in CliRunner().invoke(main, ["settings"]).output + json.dumps(row)
