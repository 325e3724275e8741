"""Measure saving and committing drafts, alternating with the plain statement on other rows of the same kind."""

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

SAVE, INSERT = f"SaveDraft of {EDITS:,}", f"INSERT of {EDITS:,} drafts"
COMMIT, UPDATE = f"Commit of {EDITS:,}", f"UPDATE of {EDITS:,} records"
LIMITS = {SAVE: INSERT, COMMIT: UPDATE}
UNIT = "rows/s"

PLAIN_INSERT = """
INSERT INTO draftline.draft
SELECT $1, 'plain', 'movies', p.record_id, 'CHANGE', '{}', '{}', 1, p.merged, 1, '', '', now(), now()
FROM unnest($2::text[], $3::jsonb[]) AS p (record_id, merged)
"""
CHANGED = """
SELECT (content || '{"Worldwide Gross": 1}')::text AS content FROM draftline.record
WHERE tenant_id = $1 AND collection = 'movies' AND record_id = ANY ($2::text[]) ORDER BY record_id
"""
PLAIN_UPDATE = """
UPDATE draftline.record AS r SET content = p.content, version = r.version + 1, updated_at = now()
FROM unnest($2::text[], $3::jsonb[]) AS p (record_id, content)
WHERE r.tenant_id = $1 AND r.collection = 'movies' AND r.record_id = p.record_id
"""


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
        await timed(INSERT, connection.execute(PLAIN_INSERT, tenant_id, plain_ids, contents))
        await timed(SAVE, stub.SaveDraft(save, metadata=metadata))
        await timed(UPDATE, connection.execute(PLAIN_UPDATE, tenant_id, plain_ids, contents))
        await timed(COMMIT, stub.Commit(commit, metadata=metadata))
    for name, samples in times_s.items():
        counted = samples[WARM_UP:]
        rate = EDITS / statistics.median(counted)
        measurements.add(name, UNIT, rate, latencies_s=counted, limit=LIMITS.get(name, ""))
    await connection.execute("DELETE FROM draftline.draft WHERE tenant_id = $1 AND user_id = 'plain'", tenant_id)


def _ids(stretch: int) -> list[str]:
    return [record_id(number) for number in range(stretch * EDITS, (stretch + 1) * EDITS)]
