"""A dump of the database, restored into another PostgreSQL: all is there, and the log goes on behind its end."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from draftline_server.embedded_postgres import process as postgres_child
from draftline_server.embedded_postgres.server import EmbeddedPostgres
from draftline_server.store.change_log.feed import Feed, Scope
from draftline_server.store.change_log_maintenance import keep_order
from support.servers import run_sql
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, change, connected

from ..store.test_tallies import tallies_of, wrong_groups

SPEND = "DO $$ BEGIN FOR n IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
TABLES = ("record", "draft", "change")
STATISTICS = '[{"name": "n", "keys": [{"path": ["n"], "type": "NUMBER"}], "measures": []}]'


def run(program: str, *arguments: str) -> None:
    binaries = postgres_child.find_binaries()
    if not (binaries / program).exists():
        pytest.skip(f"there is no {program} in {binaries}")
    done = subprocess.run([binaries / program, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def test_log_goes_on_where_a_dump_is_restored(database_url: str, tmp_path: Path) -> None:
    run_sql(database_url, SPEND)  # the numbers of transactions are higher than in a new PostgreSQL
    async with connected(database_url) as database:
        world = LoggedWorld(database, "t")
        await world.declare(fields='[{"path": ["n"], "type": "NUMBER"}]', statistics=STATISTICS)
        await keep_order(database)
        await tallies_of(database).build("t", COLLECTION)
        run_sql(database_url, SPEND)
        for name in ("1", "2"):
            await world.create(name, {"n": 1})
            await world.patch(name, {"n": 2})
        await world.save("ada", change("1", {"n": 3}))
        await tallies_of(database).fold_all(limit=0)  # reads skip rows by the numbers of their transactions
        stored = {table: await world.stored(table) for table in TABLES}
        listed, seen = await world.all(oldest_first=True), await Feed(database, 1).now()
    run("pg_dump", "--format=custom", f"--file={tmp_path / 'dump'}", database_url)
    with EmbeddedPostgres(tmp_path / "data", durable=False) as postgres:
        run("pg_restore", "--exit-on-error", f"--dbname={postgres.url}", str(tmp_path / "dump"))
        async with connected(postgres.url) as database:
            world, feed = LoggedWorld(database, "t"), Feed(database, 1)
            assert await keep_order(database)
            assert {table: await world.stored(table) for table in TABLES} == stored
            assert await world.all(oldest_first=True) == listed
            assert (await feed.read(Scope("t"), seen)).entries == []
            await world.patch("2", {"m": 4})
            await world.commit("ada")
            assert await wrong_groups(world) == []
            new = await world.all(oldest_first=True)
            assert new[: len(listed)] == listed
            assert [(each.record_id, each.version) for each in new[len(listed) :]] == [("2", 3), ("1", 3)]
            entries = [each.change for each in (await feed.read(Scope("t"), seen)).entries]
            assert entries == new[len(listed) :]
            await world.revert_version("2", 2)
            assert (await world.record("2")).content == '{"m": 4, "n": 1}'
            assert not await keep_order(database)


def test_check_of_the_guide_examines_the_restored_database() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (block,) = re.findall(r"```text\n(pg_dump .*?)```", guide, re.DOTALL)
    dump, restore, check = block.strip().splitlines()
    restored = re.search(r'--dbname "(\$\w+)"', restore)
    assert restored is not None
    assert restored[1] not in dump
    assert check == f'DRAFTLINE_DATABASE_URL="{restored[1]}" draftline check'
