"""The merged lists to measure: one tenant with records for each length, and drafts of them."""

from __future__ import annotations

import asyncpg
import draftline

from .environment import Environment
from .records import fill, settle
from .sizes import Sizes

COLLECTION = "movies"
DECLARED = {"/Major Genre": "text", "/Production Budget": "number", "/Worldwide Gross": "number"}
ORDERS: list[list[str | draftline.SortKey]] = [
    [draftline.SortKey("/Worldwide Gross", descending=True)],
    ["/Major Genre", draftline.SortKey("/Worldwide Gross", descending=True)],
]
OTHERS = 20  # users who have drafts of the same records

MAKE_DRAFTS = """
INSERT INTO draftline.draft
SELECT $1, $2, $5, record_id, 'CHANGE', edit, draftline.inverse(edit, content), 1,
    draftline.apply_edit(edit, content), 1, '', '', now(), now()
FROM (
    SELECT record_id, content,
        jsonb_build_object('s', jsonb_build_object('Worldwide Gross', (random() * 1e9)::bigint)) AS edit
    FROM generate_series($4::int, $6::int - 1, $3::int) AS g
    JOIN draftline.record ON record_id = 'film-' || lpad(g::text, 8, '0')
    WHERE tenant_id = $1 AND collection = $5
) AS chosen
"""

# The records of the longest list in a table whose only index serves the measured page.
MAKE_PLAIN_LIST = """
CREATE UNLOGGED TABLE public.plain_list AS
SELECT tenant_id, record_id, content, version, updated_at FROM draftline.record
WHERE tenant_id = '{}' AND collection = '{}'
"""
MAKE_PLAIN_INDEX = """
CREATE INDEX ON public.plain_list (tenant_id, (draftline.indexed_text_at(content, ARRAY['Major Genre'])) COLLATE "C",
    (draftline.number_at(content, ARRAY['Worldwide Gross'])) DESC NULLS LAST, record_id)
"""


def tenant_of(records: int) -> str:
    return f"merged-{records}"


def user_with(own_drafts: int) -> str:
    return f"user-{own_drafts}"


async def prepare(environment: Environment, sizes: Sizes) -> None:
    """Create a list for each length, with drafts of users who have few and of users who have many."""
    connection = await asyncpg.connect(environment.url, server_settings={"statement_timeout": "0"})
    try:
        for count in sizes.lengths:
            await fill(connection, tenant_of(count), COLLECTION, count)
            others = min(sizes.other_drafts, count // 10)
            shares = {f"other-{number}": others // OTHERS for number in range(OTHERS)}
            shares |= {user_with(own): min(own, count // 2) for own in sizes.own_drafts}
            for index, (user, share) in enumerate(shares.items()):
                if share:
                    step = max(1, count // share)
                    await connection.execute(MAKE_DRAFTS, tenant_of(count), user, step, index % step, COLLECTION, count)
            await _declare(environment, count)  # builds the entries of the records and drafts
        await connection.execute("DROP TABLE IF EXISTS public.plain_list")
        await connection.execute(MAKE_PLAIN_LIST.format(tenant_of(sizes.records), COLLECTION))
        await connection.execute(MAKE_PLAIN_INDEX)
    finally:
        await connection.close()
    await settle(environment.url)


async def _declare(environment: Environment, count: int) -> None:
    tenant_id = tenant_of(count)
    async with draftline.AsyncClient(
        environment.address, tenant_id=tenant_id, token=environment.token([tenant_id]), timeout=None
    ) as client:
        await client.put_collection(COLLECTION, fields=DECLARED, orders=ORDERS)
        await client.wait_until_built(COLLECTION)
