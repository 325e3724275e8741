"""Stored texts with control characters, as commands print them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from click.testing import CliRunner
from draftline import Client, DeclaredStatistic
from draftline_server.cli import doctor, main
from draftline_server.doctor.results import Finding, fault
from draftline_server.domain.visible_text import visible

TEXTS = {"\x1b]0;gone\x07": r"\x1b]0;gone\x07", "\r0": r"\r0", "\x9b2J": r"\x9b2J", "\u202edlog": r"\u202edlog"}


@pytest.mark.parametrize("command", ["stats", "list"])
def test_tables_show_control_characters_of_stored_texts_as_escapes(
    server_address: str, tenant_id: str, command: str
) -> None:
    """Print no text of another user that a terminal would carry out."""
    with Client(server_address, tenant_id=tenant_id, user="ada") as client:
        client.put_collection("gold", fields={"/t": "text"}, statistics=[DeclaredStatistic("s", ("/t",))])
        client.import_content("gold", [(str(index), {"t": text}) for index, text in enumerate(TEXTS)])
        client.wait_until_built("gold")
    options = ["--by", "/t"] if command == "stats" else []
    printed = CliRunner().invoke(main, [command, "gold", *options, "--tenant", tenant_id, "--address", server_address])
    assert printed.exit_code == 0
    assert set(printed.stdout).isdisjoint("".join(TEXTS).translate(dict.fromkeys(map(ord, "]0;gone2Jdl"))))
    for text in TEXTS.values() if command == "stats" else [r"\x9b2J", r"\u202edlog"]:  # JSON has escapes of its own
        assert text in printed.stdout


@pytest.mark.parametrize(
    "arguments", [["list", "gold"], ["stats", "gold", "--by", "/t"], ["collections", "list"]], ids=lambda each: each[0]
)
def test_json_shows_control_characters_of_stored_texts_as_escapes(
    server_address: str, tenant_id: str, arguments: list[str]
) -> None:
    """Print the same JSON, in characters that no terminal would carry out."""
    with Client(server_address, tenant_id=tenant_id, user="ada") as client:
        schema = {"description": "".join(TEXTS)}
        statistics = [DeclaredStatistic("s", ("/t",))]
        client.put_collection("gold", fields={"/t": "text"}, statistics=statistics, json_schema=schema)
        client.import_content("gold", [(str(index), {"t": text}) for index, text in enumerate(TEXTS)])
        client.wait_until_built("gold")
    printed = CliRunner().invoke(main, [*arguments, "--json", "--tenant", tenant_id, "--address", server_address])
    assert printed.exit_code == 0
    assert set(printed.stdout).isdisjoint("\x1b\x07\r\x9b\u202e")
    assert (r"\u009b2J" in printed.stdout, r"\u202edlog" in printed.stdout) == (True, True)
    texts = printed.stdout.splitlines() if arguments[0] == "list" else [printed.stdout]
    parsed = [json.loads(text) for text in texts]
    assert (r"\u009b2J" in json.dumps(parsed), r"\u202edlog" in json.dumps(parsed)) == (True, True)


def test_errors_show_control_characters_as_escapes(server_address: str, tenant_id: str) -> None:
    arguments = ["stats", "gold", "--by", "/\x1b[31m", "--tenant", tenant_id, "--address", server_address]
    failed = CliRunner().invoke(main, arguments)
    assert (failed.exit_code, "\x1b" in failed.stderr, r"/\x1b[31m" in failed.stderr) == (1, False, True)


def test_findings_of_the_doctor_show_control_characters_as_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def examine(*_: object, **__: object) -> AsyncIterator[Finding]:
        yield fault("orders", "the collection '\u202edlog' has a fault", "drop '\x9b2J'")

    monkeypatch.setattr(doctor, "examine", examine)
    printed = CliRunner().invoke(main, ["doctor"]).stdout
    assert (r"'\u202edlog' has a fault" in printed, r"drop '\x9b2J'" in printed) == (True, True)
    assert set(printed).isdisjoint("\u202e\x9b")


def test_lines_tabs_and_printable_texts_stay() -> None:
    assert visible("a\tb\nc é 日本 😀 \u200d") == "a\tb\nc é 日本 😀 \u200d"
