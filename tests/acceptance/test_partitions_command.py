"""`draftline partitions`: each phase once, by the command, beside a service that goes on writing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from draftline import Client
from support.server_process import invoked
from support.servers import cloned, run_sql, serving

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
        assert any("FOR KEY SHARE" in each for each in created)
        assert phase(url, "start", "--tenant", "acme", "--modulus", "2") == "COPIED"
        write("copied")
        refused = invoked("partitions", "switch", database_url=url)
        assert (refused.returncode, "not verified" in refused.stderr) == (1, True)
        assert phase(url, "verify") == "COPIED"
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
        assert phase(url, "start", "--modulus", "2") == "COPIED"
        assert phase(url, "cleanup", "--yes", "--log", str(folder / "own.log")) == "NONE"
        assert [row[2] for row in catalogue(url) if row[0] == "relation"] == before
        assert "COPIED" not in (folder / "own.log").read_text()
        run_sql(url, "CREATE PUBLICATION films FOR TABLE draftline.record")
        planned = invoked("partitions", "plan", database_url=url)
        assert (planned.returncode, "publication films on record" in planned.stdout) == (1, True)
