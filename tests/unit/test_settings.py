"""Settings come from the environment alone, and what cannot be used is refused by name."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from draftline_server.cli import main
from draftline_server.settings import PREFIX, RENAMED, Settings
from pydantic import ValidationError


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


def test_defaults_serve_on_loopback() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.database_url) == ("127.0.0.1", 50051, "")
    assert settings.enable_partial_updates


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAFTLINE_PORT", "6000")
    monkeypatch.setenv("DRAFTLINE_ENABLE_PARTIAL_UPDATES", "false")
    monkeypatch.setenv("DRAFTLINE_DATA_DIR", "elsewhere")
    settings = Settings()
    assert (settings.port, settings.enable_partial_updates, settings.data_dir) == (6000, False, Path("elsewhere"))


def test_file_of_settings_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("DRAFTLINE_PORT=6000\n")
    monkeypatch.chdir(tmp_path)
    assert Settings().port == 50051


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


def value_of(name: str) -> object:
    """The value of the setting with this environment variable."""
    return getattr(Settings(), name.removeprefix(PREFIX).lower())


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
    current = {PREFIX + name.upper() for name in Settings.model_fields}
    assert not RENAMED.keys() & current
    assert set(RENAMED.values()) <= current


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_means(name: str) -> None:
    assert Settings.model_fields[name].description


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
    table = text[text.index("## Limits") : text.index("## What a valid token")]
    told = {}
    for values, names in re.findall(r"^\| .*? \| (.*?) \| (`.*?`) \| .*?\|$", table, re.MULTILINE):
        for value, name in zip(values.split("; "), names.split("; "), strict=True):
            (number, unit) = re.fullmatch(r"([\d,]+)(.*)", value).groups()  # type: ignore[union-attr]
            told[name.strip("`").lower()] = int(number.replace(",", "")) * UNITS[unit]
    assert len(told) > 15
    assert told == {name: getattr(Settings(), name) for name in told}
