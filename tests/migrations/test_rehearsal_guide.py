"""Run the ten phases of docs/rehearsal.md as they are written, on a database of an earlier version."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from draftline import Client
from draftline_server.embedded_postgres.process import find_binaries
from draftline_server.ops import migrate, revisions
from draftline_server.rehearsal.report import read_report
from support import sql
from support.server_process import invoked
from support.servers import beside, on_database, run_sql, serving

GUIDE = (Path(__file__).parents[2] / "docs" / "rehearsal.md").read_text()
PHASE = re.compile(r"^### (\d+)\. .*?^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
OLD = "0022"


def run(line: str, variables: dict[str, str]) -> tuple[int, str]:
    """Run a line of the guide: a command of this project in this process, another one in a shell."""
    found = re.fullmatch(r'(?:DRAFTLINE_DATABASE_URL="\$(COPY_URL)" )?draftline (.*)', line)
    if found is None:
        path = f"{Path(sys.executable).parent}:{find_binaries()}:{os.environ['PATH']}"
        environ = {**os.environ, **variables, "PATH": path}
        done = subprocess.run(["bash", "-c", line], env=environ, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr
    arguments = [variables.get(each.removeprefix("$"), each) for each in shlex.split(found[2])]
    ended = invoked(*arguments, database_url=variables[found[1] or "DRAFTLINE_DATABASE_URL"])
    return ended.returncode, ended.stdout + ended.stderr


def test_ten_phases_of_the_guide_migrate_a_database(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (find_binaries() / "pg_dump").exists():
        pytest.skip(f"there is no pg_dump in {find_binaries()}")
    monkeypatch.chdir(tmp_path)
    with serving(database_url) as server, Client(server.address, tenant_id="acme", user="ada") as client:
        client.import_content("films", [("f-1", {"n": 1}), ("f-2", {"n": 2})])
        client.save_draft("films", "f-1", {"n": 3})
    beside(migrate.go_to, database_url, OLD)
    copy = f"rehearsal_{os.urandom(4).hex()}"
    variables = {"DRAFTLINE_DATABASE_URL": database_url, "COPY_URL": on_database(database_url, copy)}
    phases = PHASE.findall(GUIDE)
    assert [number for number, _ in phases] == [str(number) for number in range(1, 11)]
    try:
        for number, commands in phases:
            for line in commands.replace("DATABASE rehearsal", f"DATABASE {copy}").splitlines():
                status, output = run(line, variables)
                assert status == 0, f"phase {number}: {line}\n{output}"
            at_head = [row["version_num"] for row in sql.fetch(database_url, REVISION)] == [revisions.head()]
            assert at_head == (number == "10"), number
    finally:
        run_sql(database_url, f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)")
    assert read_report(tmp_path / "rehearsal.json").completed is not None


REVISION = "SELECT version_num FROM draftline.alembic_version"
