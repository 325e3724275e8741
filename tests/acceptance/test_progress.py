"""Long commands show progress on a terminal, and only there."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import uuid
from pathlib import Path

from alembic.script import ScriptDirectory
from draftline_server.ops import revisions
from support.server_process import DRAFTLINE, environment, invoked
from support.servers import cloned

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(*arguments: str, **settings: object) -> tuple[str, str]:
    """Standard output, which is no terminal, and what a terminal showed of standard error."""
    ours, theirs = pty.openpty()
    environ = {**environment(**settings), "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen([DRAFTLINE, *arguments], env=environ, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while read := os.read(ours, 4096):
                shown += read
        except OSError:  # the other end is closed
            pass
        assert process.stdout is not None
        output = process.stdout.read().decode()
    os.close(ours)
    assert process.returncode == 0, shown
    return output, ESCAPES.sub("", shown.decode())


def test_import_and_declaration_tell_how_far_they_are(films: Path, server_address: str) -> None:
    where = ("--address", server_address, "--tenant", f"tenant-{uuid.uuid4()}")
    load = ("import", str(films), *where, "--collection", "movies", "--id-row")
    output, shown = on_terminal(*load)
    assert output == "movies: 3,201 inserted, 0 updated, 0 unchanged, 0 deleted\n"
    assert "records" in shown
    assert "%" in shown
    assert invoked(*load).stderr == ""
    output, shown = on_terminal("collections", "put", "movies", *where, "--field", "/Title=text")
    assert "ready" in output
    assert "building the indexes" in shown


def test_migration_and_check_tell_how_far_they_are(postgres_url: str) -> None:
    with cloned(postgres_url, "template0") as url:
        check_migration_and_check({"database_url": url, "log_level": "error"})


def check_migration_and_check(quiet: dict[str, object]) -> None:
    output, shown = on_terminal("migrate", **quiet)
    assert output.startswith("the database is at revision ")
    steps = re.findall(r"(?m)(?:^|\r)(\d{4}) (\w.*?)\s*$", shown)  # "\r": after the spinner was drawn
    known = ScriptDirectory(str(revisions.FOLDER)).walk_revisions()
    assert [number for number, _ in steps] == [each.revision for each in known][::-1]
    assert len(steps) >= 3
    output, shown = on_terminal("check", **quiet)
    assert output == "0 drafts checked, 0 differ, 0 remain\n"
    assert "0/0 drafts" in shown
    _, shown = on_terminal("migrate", "--to", "0001", "--yes", **quiet)
    assert "0002" in shown
    assert ", downgraded" in shown
