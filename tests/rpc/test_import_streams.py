"""Imports that break half-way, meet others, or are long."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from draftline.v1 import collection_pb2, content_pb2, content_pb2_grpc
from support.polling import until
from support.responses import TIMEOUT_S, Records, document, refusal_of, steps
from support.soak_scale import length

Part = content_pb2.ImportContentRequest
SNAPSHOT = content_pb2.IMPORT_MODE_SNAPSHOT


def header(records: Records, **options: Any) -> Part:
    return Part(header=content_pb2.ImportHeader(tenant_id=records.tenant_id, collection=records.collection, **options))


def chunk(names: list[str], content: Any) -> Part:
    rows = [content_pb2.ImportRecord(record_id=name, content=document(content)) for name in names]
    return Part(chunk=content_pb2.ImportChunk(records=rows))


def end(count: int) -> Part:
    return Part(end=content_pb2.ImportEnd(record_count=count))


class Feed:
    """A stream that stays open, for the test to put messages in."""

    def __init__(self, *parts: Part) -> None:
        self._parts: queue.Queue[Part | Exception | None] = queue.Queue()
        for part in parts:
            self.put(part)

    def put(self, part: Part | Exception | None) -> None:
        """A message; an exception, which breaks the stream; or None, which ends it."""
        self._parts.put(part)

    def __iter__(self) -> Iterator[Part]:
        while (part := self._parts.get()) is not None:
            if isinstance(part, Exception):
                raise part
            yield part


# The sessions whose last statement was to copy what had come.
COPIED = """FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'idle' AND query LIKE 'COPY "staging"%'"""


def open_imports(sql: Any, url: str) -> int:
    """Return the number of imports that wait for more of their streams."""
    return int(sql(url, f"SELECT count(*) AS n {COPIED}")[0]["n"])


@contextmanager
def half_sent(records: Records, server: Any, sql: Any, stub: Any = None) -> Iterator[tuple[Feed, Any]]:
    """A snapshot whose first records have arrived, and whose stream is open."""
    for name in ("a", "z"):
        records.create(name, {"n": 1})
    feed = Feed(header(records, mode=SNAPSHOT), chunk(["a", "b"], {"n": 2}))
    call = (stub or records.stub).ImportContent.future(iter(feed), timeout=TIMEOUT_S)
    until(lambda: open_imports(sql, server.url))
    yield feed, call
    feed.put(None)
    until(lambda: not open_imports(sql, server.url))
    assert [records.content(name) for name in ("a", "z")] == [{"n": 1}, {"n": 1}]
    assert [records.get(name).version for name in ("a", "z")] == [1, 1]
    assert records.is_missing("b")


def test_cancelled_import_leaves_nothing(records: Records, server: Any, sql: Any) -> None:
    with half_sent(records, server, sql) as (_, call):
        call.cancel()


def test_import_whose_sender_fails_leaves_nothing(records: Records, server: Any, sql: Any) -> None:
    with half_sent(records, server, sql) as (feed, call):
        feed.put(ValueError("the source broke"))
        assert call.exception(timeout=TIMEOUT_S) is not None


def test_import_past_its_deadline_leaves_nothing(records: Records, server: Any, sql: Any) -> None:
    records.create("a", {"n": 1})
    feed = Feed(header(records), chunk(["a", "b"], {"n": 2}))
    call = records.stub.ImportContent.future(iter(feed), timeout=1.0)
    assert call.exception(timeout=TIMEOUT_S).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    feed.put(None)
    until(lambda: not open_imports(sql, server.url))
    assert records.content("a") == {"n": 1}
    assert records.is_missing("b")


def test_import_whose_connection_is_cut_leaves_nothing(records: Records, server: Any, sql: Any) -> None:
    channel = grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)])
    with half_sent(records, server, sql, content_pb2_grpc.ContentServiceStub(channel)):
        channel.close()


def test_import_whose_database_session_is_cut_leaves_nothing(records: Records, server: Any, sql: Any) -> None:
    with half_sent(records, server, sql) as (feed, call):
        sql(server.url, f"SELECT pg_terminate_backend(pid) {COPIED}")
        feed.put(chunk(["c"], {}))
        feed.put(end(3))
        feed.put(None)
        refusal = refusal_of(call.exception(timeout=TIMEOUT_S))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")


def test_records_are_not_seen_before_the_import_ends(records: Records, server: Any, sql: Any) -> None:
    feed = Feed(header(records), chunk(["a"], {"n": 1}))
    call = records.stub.ImportContent.future(iter(feed), timeout=TIMEOUT_S)
    until(lambda: open_imports(sql, server.url))
    assert records.is_missing("a")
    feed.put(end(1))
    feed.put(None)
    assert call.result().inserted_count == 1
    assert records.content("a") == {"n": 1}


def test_declaration_that_changes_meanwhile_refuses_the_import(
    records: Records, server: Any, sql: Any, collection_stub: Any
) -> None:
    feed = Feed(header(records), chunk(["a"], {"n": 1}))
    call = records.stub.ImportContent.future(iter(feed), timeout=TIMEOUT_S)
    until(lambda: open_imports(sql, server.url))
    put = collection_pb2.PutCollectionRequest(
        tenant_id=records.tenant_id, collection="films", json_schema='{"required": ["title"]}'
    )
    collection_stub.PutCollection(put, timeout=TIMEOUT_S)
    feed.put(end(1))
    feed.put(None)
    refusal = refusal_of(call.exception(timeout=TIMEOUT_S))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "CONTENTION")
    assert records.is_missing("a")


def test_imports_into_one_collection_at_once_all_succeed(records: Records) -> None:
    names = [f"m-{n}" for n in range(400)]

    def load(caller: int) -> content_pb2.ImportContentResponse:
        order = names if caller % 2 else names[::-1]
        halves = [chunk(order[:200], {"by": caller}), chunk(order[200:], {"by": caller})]
        mode = SNAPSHOT if caller % 3 else content_pb2.IMPORT_MODE_UPSERT
        return records.stub.ImportContent(iter([header(records, mode=mode), *halves, end(400)]), timeout=TIMEOUT_S)

    with ThreadPoolExecutor(6) as callers:
        answers = list(callers.map(load, range(12)))
    assert sum(answer.inserted_count for answer in answers) == 400
    assert {a.inserted_count + a.updated_count + a.unchanged_count for a in answers} == {400}
    writers = {records.content(name)["by"] for name in names}
    assert len(writers) == 1  # each is one transaction, so the last one's content stands in every record


def test_imports_beside_overlapping_batches_all_succeed(records: Records) -> None:
    names = [f"m-{n}" for n in range(200)]
    increment = steps({"op": "increment", "path": "/n", "value": 1})

    def load(caller: int) -> None:
        order = names[::-1] if caller % 2 else names
        parts = [header(records, mode=SNAPSHOT), chunk(order, {"n": 0, "by": caller}), end(200)]
        records.stub.ImportContent(iter(parts), timeout=TIMEOUT_S)

    def patch(caller: int) -> None:
        order = names if caller % 2 else names[::-1]
        requests = [records.patching(name, operations=increment, allow_missing=True) for name in order]
        batch = content_pb2.BatchPatchContentRequest(tenant_id=records.tenant_id, requests=requests)
        records.stub.BatchPatchContent(batch, timeout=TIMEOUT_S)

    with ThreadPoolExecutor(8) as callers:
        calls = [callers.submit(load if n % 3 == 0 else patch, n) for n in range(24)]
    for call in calls:
        call.result()
    assert len({json.dumps(records.content(name), sort_keys=True) for name in names}) == 1


LONG = length("LONG_IMPORT", 25_000, soak=100_000)  # records
MEASURE = """
import resource, sys
from pathlib import Path
sys.path[:0] = {paths!r}
import grpc
from support.servers import serving
from draftline.v1 import content_pb2, content_pb2_grpc
Part = content_pb2.ImportContentRequest

def parts(tenant, count):
    yield Part(header=content_pb2.ImportHeader(tenant_id=tenant, collection="films"))
    for first in range(0, count, 500):
        rows = [content_pb2.ImportRecord(record_id=str(n), content={{"json": '{{"n": "%0400d"}}' % n}})
                for n in range(first, first + 500)]
        yield Part(chunk=content_pb2.ImportChunk(records=rows))
    yield Part(end=content_pb2.ImportEnd(record_count=count))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

with serving({url!r}) as running, grpc.insecure_channel(running.address) as channel:
    stub = content_pb2_grpc.ContentServiceStub(channel)
    stub.ImportContent(parts("warm", 5_000), timeout=120)
    before = peak()
    assert stub.ImportContent(parts("long", {count}), timeout=120).inserted_count == {count}
    print("growth:", peak() - before)
"""


@pytest.mark.soak
def test_long_import_takes_no_more_memory_than_a_short_one(database_url: str) -> None:
    tests = Path(__file__).parents[1]
    code = MEASURE.format(paths=[str(tests)], url=database_url, count=LONG)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    # The content of 40,000 records is over 16 MB, and several times that as Python objects.
    growth_mib = int(done.stdout.rsplit("growth:", 1)[1].split()[0])
    assert growth_mib < 30
