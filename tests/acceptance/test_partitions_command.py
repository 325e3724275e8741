"""`draftline partitions`: each phase once, by the command, beside a service that goes on writing."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import click
import pytest
from draftline import Client
from draftline_server.cli.partitions import partitions_group
from support.server_process import DRAFTLINE, environment, invoked
from support.servers import cloned, run_sql, serving

RECORDS = (
    "INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by, "
    "updated_at, updated_by) SELECT 'acme', 'films', 'f-' || n, '{}', 1, now(), 'u', now(), 'u' "
    "FROM generate_series(1, 300) AS n"
)
CATALOGUE = (
    "SELECT 'relation', oid::text, relname::text FROM pg_class UNION ALL "
    "SELECT 'function', oid::text, proname FROM pg_proc UNION ALL "
    "SELECT 'trigger', oid::text, tgname || tgenabled::text FROM pg_trigger UNION ALL "
    "SELECT 'state', '', s::text FROM draftline.partition_switch AS s UNION ALL "
    "SELECT 'log', '', l::text FROM draftline.partition_switch_log AS l ORDER BY 1, 2, 3"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def url(postgres_url: str, template: str) -> Iterator[str]:
    with cloned(postgres_url, template) as made:
        yield made


def catalogue(url: str) -> list[tuple[str, ...]]:
    async def read() -> list[tuple[str, ...]]:
        connection = await asyncpg.connect(url)
        rows = await connection.fetch(CATALOGUE)
        await connection.close()
        return [tuple(row) for row in rows]

    return asyncio.run(read())


def phase(url: str, *arguments: str) -> str:
    done = invoked("partitions", *arguments, "--json", database_url=url)
    assert done.returncode == 0, done.stderr + done.stdout
    found: str = json.loads(done.stdout)["phase"]
    return found


def dry_run(url: str, *arguments: str) -> list[str]:
    """Return the SQL of a dry run, which changes nothing."""
    before = catalogue(url)
    done = invoked("partitions", *arguments, "--dry-run", "--json", database_url=url)
    assert done.returncode == 0, done.stderr + done.stdout
    assert catalogue(url) == before
    sql: list[str] = json.loads(done.stdout)["sql"]
    return sql


def on_terminal(*arguments: str, **settings: object) -> tuple[str, int]:
    """Run a command whose standard error is a terminal. Return what it shows there, and its exit status."""
    terminal, other_end = pty.openpty()
    environ = {**environment(**settings), "TERM": "xterm", "COLUMNS": "120"}
    shown = b""
    with subprocess.Popen([DRAFTLINE, *arguments], stderr=other_end, stdout=subprocess.DEVNULL, env=environ) as process:
        os.close(other_end)
        with suppress(OSError):  # Linux reports the end of a terminal as an error
            while text := os.read(terminal, 100_000):
                shown += text
        os.close(terminal)
    return shown.decode(), process.returncode


@pytest.mark.parametrize("name", sorted(partitions_group.commands))
def test_help_of_each_command_has_examples_that_are_accepted(name: str) -> None:
    done = invoked("partitions", name, "--help")
    assert (done.returncode, "--dry-run" in done.stdout, "--json" in done.stdout) == (0, True, True)
    examples = re.findall(
        r"^ +draftline partitions (\S+) ?([^|>\n]*)", done.stdout.partition("Examples:")[2], re.MULTILINE
    )
    assert len(examples) >= 2
    assert {command for command, _ in examples} == {name}
    assert any("--dry-run" in options for _, options in examples)
    for _, options in examples:
        partitions_group.commands[name].make_context(name, shlex.split(options), parent=click.Context(partitions_group))


def test_commands_move_a_database_there_back_and_there_beside_a_service(url: str, folder: Path) -> None:
    planned = invoked("partitions", "plan", database_url=url)
    assert planned.returncode == 0
    assert "Nothing prevents it." in planned.stdout
    with serving(url) as server, Client(server.address, tenant_id="acme", user="ada") as client:

        def write(name: str) -> None:
            client.create_content("films", {"name": name}, record_id=name)
            client.save_draft("films", name, {"draft": name})

        client.import_content("books", [(f"book-{number}", {"n": number}) for number in range(200)])
        write("before")
        created = dry_run(url, "start", "--tenant", "acme")
        assert any("PARTITION BY LIST" in each for each in created)
        assert any("pg_publication_rel" in each for each in dry_run(url, "plan"))
        assert any("partition_switch_log" in each for each in dry_run(url, "status"))
        assert any("FOR KEY SHARE" in each for each in created)
        assert phase(url, "start", "--tenant", "acme", "--modulus", "2") == "COPIED"
        write("copied")
        refused = invoked("partitions", "switch", database_url=url)
        assert (refused.returncode, "not verified" in refused.stderr) == (1, True)
        assert any("FULL JOIN" in each for each in dry_run(url, "verify"))
        assert phase(url, "status") == phase(url, "verify") == "COPIED"
        assert any("RENAME TO record_old" in each for each in dry_run(url, "switch"))
        assert phase(url, "switch") == "SWITCHED"
        write("switched")
        assert phase(url, "verify") == "SWITCHED"
        assert dry_run(url, "rollback")
        assert phase(url, "rollback") == "COPIED"
        write("rolled-back")
        assert phase(url, "verify") == "COPIED"
        assert phase(url, "switch") == "SWITCHED"
        asks = invoked("partitions", "cleanup", database_url=url)
        assert (asks.returncode, "--yes" in asks.stderr) == (2, True)
        assert any("DROP TABLE" in each for each in dry_run(url, "cleanup", "--yes"))
        assert phase(url, "cleanup", "--yes") == "DONE"
        write("done")
        drafted = {each.record_id: each.content["draft"] for each in client.get_merged("films")}
        assert drafted == {name: name for name in ("before", "copied", "switched", "rolled-back", "done")}
    status = invoked("partitions", "status", database_url=url)
    assert "The tables are partitioned, phase DONE" in status.stdout
    events = [json.loads(line) for line in (folder / "draftline-partitions.log").read_text().splitlines()]
    verified = [event for event in events if event["event"] == "verified"]
    assert [event["phase"] for event in verified] == ["COPIED", "SWITCHED", "COPIED"]
    assert all(table["rows"] == table["other_rows"] for event in verified for table in event["tables"].values())
    assert invoked("check", database_url=url).returncode == 0


def test_cleanup_before_the_switch_gives_up_the_copies(postgres_url: str, template: str, folder: Path) -> None:
    with cloned(postgres_url, template) as url:
        before = [row[2] for row in catalogue(url) if row[0] == "relation"]
        started = invoked("partitions", "start", "--modulus", "2", database_url=url)
        assert (started.returncode, "copied record: rows 0" in started.stderr) == (0, True), started.stderr
        assert "━" not in started.stderr, "there are no bars without a terminal"
        assert phase(url, "cleanup", "--yes", "--log", str(folder / "own.log")) == "NONE"
        assert [row[2] for row in catalogue(url) if row[0] == "relation"] == before
        assert "COPIED" not in (folder / "own.log").read_text()
        assert json.loads(invoked("partitions", "plan", "--json", database_url=url).stdout)["obstacles"] == []
        run_sql(url, "CREATE PUBLICATION films FOR TABLE draftline.record")
        planned = invoked("partitions", "plan", database_url=url)
        assert (planned.returncode, "publication films on record" in planned.stdout) == (1, True)


@pytest.mark.usefixtures("folder")
def test_start_shows_bars_on_a_terminal(postgres_url: str, template: str) -> None:
    with cloned(postgres_url, template) as url:
        run_sql(url, RECORDS)
        shown, status = on_terminal("partitions", "start", "--modulus", "2", database_url=url)
        assert status == 0
        assert re.search(r"record .*━.*300/300", shown)
        assert re.search(r"draft .*━.*0/0", shown), "the bar of an empty table is complete"


COMMANDS = (["plan"], ["status"], ["start"], ["verify"], ["cleanup", "--yes"], ["drop-tenant", "acme", "--yes"])


def test_schema_of_a_newer_version_is_refused_by_each_command(url: str, folder: Path) -> None:
    revision = "SELECT version_num FROM draftline.alembic_version"
    run_sql(url, f"CREATE TABLE public.kept AS {revision}", "UPDATE draftline.alembic_version SET version_num = '9999'")
    try:
        before = catalogue(url)
        for command in COMMANDS:
            refused = invoked("partitions", *command, database_url=url)
            assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
            assert refused.stderr.startswith("Error: the database is at revision 9999, this version of Draftline knows")
        assert catalogue(url) == before
    finally:
        run_sql(url, "UPDATE draftline.alembic_version SET version_num = kept.version_num FROM public.kept")
        run_sql(url, "DROP TABLE public.kept")


def test_database_that_was_never_migrated_is_named_by_each_command(postgres_url: str, folder: Path) -> None:
    bare = postgres_url.replace("/draftline?", "/postgres?")
    for command in COMMANDS:
        refused = invoked("partitions", *command, database_url=bare)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
        assert refused.stderr.startswith("Error: the database was never migrated, or its schema was dropped")
