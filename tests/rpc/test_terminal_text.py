"""Stored texts with control characters, as commands print them."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from draftline import Client, DeclaredStatistic
from draftline_server.cli import main
from draftline_server.cli.terminal_text import visible

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


def test_errors_show_control_characters_as_escapes(server_address: str, tenant_id: str) -> None:
    arguments = ["stats", "gold", "--by", "/\x1b[31m", "--tenant", tenant_id, "--address", server_address]
    failed = CliRunner().invoke(main, arguments)
    assert (failed.exit_code, "\x1b" in failed.stderr, r"/\x1b[31m" in failed.stderr) == (1, False, True)


def test_lines_tabs_and_printable_texts_stay() -> None:
    assert visible("a\tb\nc é 日本 😀 \u200d") == "a\tb\nc é 日本 😀 \u200d"
