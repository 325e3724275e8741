"""Tenants get their own partitions, and are removed, by commands that are killed under load."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from draftline import Client
from support.partitioned import partition_tables_at
from support.server_process import invoked
from support.servers import beside, cloned, serving
from support.soak_scale import IS_SOAK, length

from .test_drop_tenant import tables_with
from .test_partition_switch import killed, writing

KILLS = length("PROMOTION_KILLS", 10, soak=10)  # of the command for each tenant, at most
SEED = length("PROMOTION_SEED", 5, soak=5)
LEFT = """
SELECT relname::text FROM pg_class WHERE relnamespace = 'draftline'::regnamespace AND relname ~ '_(new|old|unmatched)$'
UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT conname FROM pg_constraint WHERE conname ~ '^not_tenant_|^rows_of_one_tenant'
"""
pytestmark = pytest.mark.skipif(not IS_SOAK, reason="runs in `make soak`")


async def left(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch(LEFT)]
    finally:
        await connection.close()


def test_killed_promotions_and_removals_lose_nothing_of_others(
    postgres_url: str, template: str, tmp_path: Path, report: Callable[[str], None]
) -> None:
    choice, kills, log = random.Random(SEED), 0, str(tmp_path / "log")

    def run(url: str, *command: str, last: int) -> None:
        nonlocal kills
        for _ in range(KILLS):
            if not killed(url, tmp_path, choice.randint(3, last), *command, "--log", log):
                return
            kills += 1
        done = invoked("partitions", *command, "--log", log, database_url=url)
        assert done.returncode == 0, done.stderr

    with cloned(postgres_url, template) as url:
        beside(partition_tables_at, url)
        with serving(url) as server:
            with Client(server.address, tenant_id="gone", user="ada") as client:
                client.import_content("films", [(f"film-{n}", {"n": n}) for n in range(1000)])
            with writing(server.address) as writers:
                for tenant_id in (*(writer.tenant_id for writer in writers), "gone"):
                    run(url, "promote", tenant_id, last=450)
                run(url, "drop-tenant", "gone", "--yes", last=60)
            for writer in writers:
                assert writer.problems(server.address) == []
        assert asyncio.run(tables_with(url, "gone")) == []
        assert asyncio.run(left(url)) == []
        assert invoked("check", database_url=url).returncode == 0
    calls, longest_s = sum(writer.calls for writer in writers), max(writer.longest_s for writer in writers)
    report(f"{kills} kills; {calls:,} calls meanwhile, nothing lost, the longest {longest_s * 1000:,.0f} ms")
