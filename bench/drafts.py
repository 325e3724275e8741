"""Measure saving and committing drafts, alternating with plain statements on other rows of the same kind.

The limits are statements that write the rows and move the entries of their orders. Statements that write
the rows alone are measured as well.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable
from typing import Any

from draftline.v1 import draft_pb2, draft_pb2_grpc

from .environment import Environment
from .measurements import Measurements
from .records import record_id

EDITS = 1_000  # in one save, and in one commit
WARM_UP, ROUNDS = 2, 9
RECORDS = 2 * EDITS * (WARM_UP + ROUNDS)  # that the list must have
USER = "writer"

SAVE, COMMIT = f"SaveDraft of {EDITS:,}", f"Commit of {EDITS:,}"
INSERT_ROWS, UPDATE_ROWS = f"INSERT of {EDITS:,} drafts alone", f"UPDATE of {EDITS:,} records alone"
INSERT, UPDATE = f"INSERT of {EDITS:,} drafts and their entries", f"UPDATE of {EDITS:,} records and their entries"
LIMITS = {SAVE: INSERT, COMMIT: UPDATE}
UNIT = "rows/s"

INSERT_DRAFTS = """
INSERT INTO draftline.draft
SELECT $1, 'plain', 'movies', p.record_id, 'CHANGE', '{}', '{}', 1, p.merged, 1, '', '', now(), now()
FROM unnest($2::text[], $3::jsonb[]) AS p (record_id, merged)
"""
INSERT_WITH_ENTRIES = """
WITH drafts AS (
    INSERT INTO draftline.draft
    SELECT $1, 'indexed', 'movies', p.record_id, 'CHANGE', '{}', '{}', 1, p.merged, 1, '', '', now(), now()
    FROM unnest($2::text[], $3::jsonb[]) AS p (record_id, merged)
    RETURNING record_id, merged
)
INSERT INTO draftline.draft_order_entry (tenant_id, user_id, collection, order_id, key, record_id)
SELECT $1, 'indexed', 'movies', o.order_id, draftline.order_key(d.merged, o.keys), d.record_id
FROM drafts AS d CROSS JOIN draftline.collection_order AS o WHERE o.tenant_id = $1 AND o.collection = 'movies'
"""
CHANGED = """
SELECT (content || '{"Worldwide Gross": 1}')::text AS content FROM draftline.record
WHERE tenant_id = $1 AND collection = 'movies' AND record_id = ANY ($2::text[]) ORDER BY record_id
"""
UPDATE_RECORDS = """
UPDATE draftline.record AS r SET content = p.content, version = r.version + 1, updated_at = now()
FROM unnest($2::text[], $3::jsonb[]) AS p (record_id, content)
WHERE r.tenant_id = $1 AND r.collection = 'movies' AND r.record_id = p.record_id
"""
UPDATE_WITH_ENTRIES = """
WITH updated AS (
    UPDATE draftline.record AS r SET content = p.content, version = r.version + 1, updated_at = now()
    FROM unnest($2::text[], $3::jsonb[]) AS p (record_id, content)
    JOIN draftline.record AS o ON o.tenant_id = $1 AND o.collection = 'movies' AND o.record_id = p.record_id
    WHERE r.tenant_id = $1 AND r.collection = 'movies' AND r.record_id = p.record_id
    RETURNING r.record_id, o.content AS old_content, r.content
), moved AS MATERIALIZED (
    SELECT u.record_id, o.order_id, draftline.order_key(u.old_content, o.keys) AS old_key,
        draftline.order_key(u.content, o.keys) AS new_key
    FROM updated AS u CROSS JOIN draftline.collection_order AS o
    WHERE o.tenant_id = $1 AND o.collection = 'movies' AND o.fields && ARRAY['Worldwide Gross']
), deleted AS (
    DELETE FROM draftline.order_entry AS e USING moved AS m
    WHERE e.tenant_id = $1 AND e.collection = 'movies' AND e.order_id = m.order_id AND e.key = m.old_key
      AND e.record_id = m.record_id
)
INSERT INTO draftline.order_entry (tenant_id, collection, order_id, key, record_id)
SELECT $1, 'movies', m.order_id, m.new_key, m.record_id FROM moved AS m
"""
DELETE_DRAFTS = "DELETE FROM draftline.draft WHERE tenant_id = $1 AND user_id IN ('plain', 'indexed')"
DELETE_ENTRIES = "DELETE FROM draftline.draft_order_entry WHERE tenant_id = $1 AND user_id = 'indexed'"


async def measure(
    environment: Environment, connection: Any, channel: Any, tenant_id: str, measurements: Measurements
) -> None:
    """Add the figures, each a median. The list must have RECORDS records."""
    stub = draft_pb2_grpc.DraftServiceStub(channel)
    metadata = (("authorization", f"Bearer {environment.token([tenant_id], USER)}"),)
    commit = draft_pb2.CommitRequest(tenant_id=tenant_id, collection="movies", all=True)

    times_s: dict[str, list[float]] = {}

    async def timed(name: str, call: Awaitable[Any]) -> None:
        start = time.perf_counter()
        await call
        times_s.setdefault(name, []).append(time.perf_counter() - start)

    for turn in range(WARM_UP + ROUNDS):
        ids, plain_ids = _ids(2 * turn), _ids(2 * turn + 1)
        contents = [row["content"] for row in await connection.fetch(CHANGED, tenant_id, plain_ids)]
        save = draft_pb2.SaveDraftRequest(tenant_id=tenant_id, collection="movies", omit_content=True)
        for edited in ids:
            save.edits.add(record_id=edited).delta.json = f'{{"Worldwide Gross": {turn + 2}}}'
        await timed(INSERT_ROWS, connection.execute(INSERT_DRAFTS, tenant_id, plain_ids, contents))
        await timed(INSERT, connection.execute(INSERT_WITH_ENTRIES, tenant_id, plain_ids, contents))
        await timed(SAVE, stub.SaveDraft(save, metadata=metadata))
        await timed(UPDATE, connection.execute(UPDATE_WITH_ENTRIES, tenant_id, plain_ids, contents))
        await timed(UPDATE_ROWS, connection.execute(UPDATE_RECORDS, tenant_id, plain_ids, contents))
        await timed(COMMIT, stub.Commit(commit, metadata=metadata))
    for name, samples in times_s.items():
        counted = samples[WARM_UP:]
        rate = EDITS / statistics.median(counted)
        measurements.add(name, UNIT, rate, latencies_s=counted, limit=LIMITS.get(name, ""))
    await connection.execute(DELETE_DRAFTS, tenant_id)
    await connection.execute(DELETE_ENTRIES, tenant_id)


def _ids(stretch: int) -> list[str]:
    return [record_id(number) for number in range(stretch * EDITS, (stretch + 1) * EDITS)]
