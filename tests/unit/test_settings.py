"""Settings come from the environment alone, and what cannot be used is refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from draftline_server.cli import main
from draftline_server.settings import Settings
from pydantic import ValidationError


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DRAFTLINE_{name.upper()}", raising=False)


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
