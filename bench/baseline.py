"""Baselines for patches: the statement alone through asyncpg, and pgbench with a plain UPDATE per transaction."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
from draftline_server.background.patch_batcher import SHARING_PLAIN
from draftline_server.domain.changes import ChangeSource, Write
from draftline_server.domain.content import Limits
from draftline_server.domain.edits import Strategy
from draftline_server.domain.records import Actor, Delta, Patch, Request
from draftline_server.embedded_postgres.process import find_binaries, last_lines
from draftline_server.store.collections.cache import CollectionSpecs
from draftline_server.store.database import Database
from draftline_server.store.in_place_patches import InPlacePatches, PatchEntry
from draftline_server.store.json_schema.pool import Schemas
from draftline_server.store.statements import Statement
from draftline_server.store.transaction import Rows, Transaction

from .load_generators import Load
from .processes import BenchError, start_process
from .records import record_id
from .requests import delta

PGBENCH_CLIENTS = 32
# Those of the service's connection settings that affect query plans.
SERVICE_SETTINGS = {
    "plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off",
    "max_parallel_workers_per_gather": "0",
}  # fmt: skip

PLAIN_PATCH = """
\\set number random(0, {last})
\\set votes random(0, 1000000000)
UPDATE draftline.record
SET content = content || jsonb_build_object('IMDB Votes', :votes::int), version = version + 1, updated_at = now()
WHERE tenant_id = '{tenant_id}' AND collection = '{collection}' AND record_id = 'film-' || lpad(:number::text, 8, '0');
"""


class _StatementRecorder(Transaction):
    """A transaction that records statements instead of running them."""

    def __init__(self) -> None:
        self.sent: deque[tuple[str, list[object]]] = deque()

    async def fetch(self, statement: Statement, values: dict[str, object]) -> Rows:
        self.sent.append((statement.sql, statement.arguments(values)))
        return []


@asynccontextmanager
async def baseline_patches(load: Load) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """Yield a function that runs the statement of the next group of patches, exactly as PatchContent would send it."""
    database = Database(load.url)
    await database.open()
    try:
        specs = CollectionSpecs(database, Schemas())
        await specs.load(load.tenant_id, [load.collection])
    finally:
        await database.close()
    applier, recorder = InPlacePatches(specs, Limits()), _StatementRecorder()
    rng = random.Random(load.seed)  # noqa: S311 - a load needs no secrets

    def entry(number: int) -> PatchEntry:
        request = Request(str(uuid.uuid4()), hashlib.blake2b(digest_size=16))
        write = Write(Actor(load.tenant_id, "bench", request), ChangeSource.PATCH_CONTENT, datetime.now(UTC))
        patch = Patch(load.collection, record_id(number), Delta(delta(rng), Strategy.SHALLOW))
        return applier.entry(write, patch, stores_responses=True)

    async def prepare() -> None:
        numbers = rng.sample(range(load.records), min(load.grouped, load.records))
        await applier.rows(recorder, [entry(number) for number in numbers], SHARING_PLAIN)

    async def call() -> None:
        if not recorder.sent:
            await prepare()
        sql, arguments = recorder.sent.popleft()
        await connection.fetch(sql, *arguments)

    for _ in range(load.prepared):
        await prepare()
    connection = await asyncpg.connect(load.url, server_settings=SERVICE_SETTINGS, max_cacheable_statement_size=65536)
    try:
        yield call
    finally:
        await connection.close()


def pgbench_rate(home: Path, conninfo: str, binaries: Path | None, load: Load) -> float:
    """Return pgbench's transactions per second, with one plain UPDATE of a row each, from PGBENCH_CLIENTS clients.

    Raise BenchError if pgbench is missing or fails.
    """
    program = find_binaries(binaries) / "pgbench"
    if not program.exists():
        raise BenchError(f"there is no {program}, which BatchPatchContent is held against")
    script = home / "patch.pgbench"
    script.write_text(PLAIN_PATCH.format(last=load.records - 1, tenant_id=load.tenant_id, collection=load.collection))
    arguments = [f"--client={PGBENCH_CLIENTS}", "--jobs=1", "--no-vacuum", "--protocol=prepared", f"--file={script}"]
    arguments.append(f"--time={max(1, round(load.seconds))}")
    process = start_process(home, subprocess.PIPE, str(program), *arguments, conninfo)
    output, _ = process.communicate()
    rate = re.search(rb"^tps = ([0-9.]+)", output, re.MULTILINE)
    if process.returncode != 0 or rate is None:
        raise BenchError(f"pgbench failed:\n{last_lines(output)}")
    return float(rate[1])
