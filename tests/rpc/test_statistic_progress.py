"""The progress of the build of a statistic, while it runs."""

from __future__ import annotations

import asyncio

import asyncpg
from draftline import AsyncClient, Collection, DeclaredStatistic, IndexState, NotFoundError, StatisticState
from support.polling import eventually
from support.server_process import invoked
from support.servers import cloned, serving

COUNTED, OTHERS = 3, 997  # records; count_built is called for the first ones
FILL = f"""
INSERT INTO draftline.record (tenant_id, collection, record_id, content, version, created_at, created_by, updated_at,
    updated_by)
SELECT 'acme', 'films', n, '{{"Genre": "Drama"}}', 1, now(), 'u', now(), 'u' FROM (
    (SELECT n::text FROM generate_series(1, 10000) AS n WHERE hashtext(n::text) & 255 = 0 LIMIT {COUNTED}) UNION ALL
    (SELECT n::text FROM generate_series(1, 10000) AS n WHERE hashtext(n::text) & 255 <> 0 LIMIT {OTHERS})
) AS n (n)
"""
# Each call waits for a lock with the number of records that were read.
HOLD = """
ALTER FUNCTION draftline.count_built(text) RENAME TO counted;
CREATE FUNCTION draftline.count_built(record_id text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM draftline.counted(record_id);
    PERFORM pg_advisory_xact_lock(4711, split_part(current_setting('application_name'), ' ', 4)::int);
    RETURN true;
END $$;
SELECT pg_advisory_lock(4711, 256), pg_advisory_lock(4711, 512)
"""
# Any client may have such a name.
OTHER_NAMES = ("draftline statistic {} x 5", "draftline statistic {} 99999999999999999999 7", "draftline statistic")


async def test_build_of_a_statistic_shows_progress_that_moves(postgres_url: str, template: str) -> None:
    with cloned(postgres_url, template) as url, serving(url) as server:
        holder = await asyncpg.connect(url)
        await holder.execute(FILL)
        await holder.execute(HOLD)
        async with AsyncClient(server.address, tenant_id="acme") as client:
            putting = asyncio.create_task(
                client.put_collection(
                    "films", fields={"/Genre": "text"}, statistics=[DeclaredStatistic("g", ("/Genre",))]
                )
            )
            found = await eventually(lambda: reading(client, 256))
            assert (found.statistics[0].record_total, found.build_progress) == (1000, 0.256)
            statistic_id = await holder.fetchval("SELECT statistic_id FROM draftline.statistic")
            for name in OTHER_NAMES:
                await holder.execute("SELECT set_config('application_name', $1, false)", name.format(statistic_id))
                assert (await client.get_collection("films")).statistics == found.statistics
            arguments = ("collections", "show", "films", "--address", server.address, "--tenant", "acme")
            shown = (await asyncio.to_thread(invoked, *arguments)).stdout
            assert "Statistic 'g' by /Genre: building, 256 of 1,000 records." in shown
            await holder.execute("SELECT pg_advisory_unlock(4711, 256)")
            assert (await eventually(lambda: reading(client, 512))).build_progress == 0.512
            await holder.execute("SELECT pg_advisory_unlock(4711, 512)")
            built = await client.wait_until_built("films")
            assert (built.statistics[0].state, built.statistics[0].group_count) == (StatisticState.READY, 1)
            assert (built.statistics[0].record_total, built.build_progress) == (0, 1.0)
            await putting
        await holder.close()


async def reading(client: AsyncClient, count: int) -> Collection | None:
    """Return the collection if its index is built and the build of its statistic has read so many records."""
    try:
        found = await client.get_collection("films")
    except NotFoundError:
        return None
    is_indexed = all(index.state is IndexState.READY for index in found.indexes)
    return found if is_indexed and found.statistics and found.statistics[0].record_count == count else None
