"""Metrics show when calls queue, connections are missing, or readers are slow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import grpc
import pytest
from draftline.v1 import change_pb2, change_pb2_grpc, content_pb2, content_pb2_grpc
from support.metrics import Scrape, scrape
from support.polling import BLOCKED, until
from support.responses import TIMEOUT_S, document, refused
from support.servers import RunningServer, serving

PATCH = "draftline.v1.ContentService/PatchContent"
WATCH = "draftline.v1.ChangeService/WatchChanges"
Part = content_pb2.ImportContentRequest


class Troubled:
    """A server of its own settings, with some records."""

    def __init__(self, server: RunningServer, channel: grpc.Channel) -> None:
        self.server, self.channel = server, channel
        self.stub: Any = content_pb2_grpc.ContentServiceStub(channel)

    def read(self) -> Scrape:
        assert self.server.app.metrics_port is not None
        return scrape(self.server.app.metrics_port)

    def value(self, name: str, **labels: str) -> float:
        return self.read().value(name, **labels)

    def load(self, *record_ids: str, text: str = "") -> None:
        records = [content_pb2.ImportRecord(record_id=each, content=document({"t": text})) for each in record_ids]
        parts = [
            Part(header=content_pb2.ImportHeader(tenant_id="acme", collection="films")),
            Part(chunk=content_pb2.ImportChunk(records=records)),
            Part(end=content_pb2.ImportEnd(record_count=len(records))),
        ]
        self.stub.ImportContent(iter(parts), timeout=TIMEOUT_S)

    @staticmethod
    def patch(record_id: str) -> content_pb2.PatchContentRequest:
        delta = document({"n": 1})
        return content_pb2.PatchContentRequest(tenant_id="acme", collection="films", record_id=record_id, delta=delta)


@contextmanager
def troubled(url: str, **settings: object) -> Iterator[Troubled]:
    with serving(url, metrics_port=0, **settings) as server, grpc.insecure_channel(server.address) as channel:
        yield Troubled(server, channel)


def test_calls_that_run_that_wait_and_that_are_refused(database_url: str, locked_record: Any) -> None:
    with troubled(database_url, max_in_flight=1, queue_limit=1) as here:
        here.load("held", "free")
        with locked_record(here.server.url, "held"):
            first = here.stub.PatchContent.future(here.patch("held"), timeout=TIMEOUT_S)
            until(lambda: here.value("draftline_calls_running") == 1)
            second = here.stub.PatchContent.future(here.patch("free"), timeout=TIMEOUT_S)
            until(lambda: here.value("draftline_calls_waiting") == 1)
            refused(here.stub.PatchContent, here.patch("free"))
            until(lambda: here.value("draftline_calls_shed_total", grpc_method=PATCH) == 1)  # counted once it is sent
            told = here.read()
        first.result()
        second.result()
        assert told.value("draftline_calls_shed_total", grpc_method=PATCH) == 1
        assert told.value("draftline_calls_open") == 2
        assert told.value("draftline_pool_in_use") == 1
        assert told.value("grpc_server_call_duration_seconds_count", grpc_status="RESOURCE_EXHAUSTED") == 1
        assert [here.value(f"draftline_calls_{state}") for state in ("open", "running", "waiting")] == [0, 0, 0]


def test_pool_that_is_exhausted(database_url: str, locked_record: Any, sql: Any) -> None:
    # The timeout is how long a connection may take to make, too: a busy machine needs more than a moment.
    with troubled(database_url, pool_size=1, pool_connect_timeout_s=2.0) as here:
        here.load("held")
        with locked_record(here.server.url, "held"):
            first = here.stub.PatchContent.future(here.patch("held"), timeout=TIMEOUT_S)
            # Its group gives the connection back before the patch, sent alone, takes it to wait for the record.
            until(lambda: sql(here.server.url, BLOCKED))
            assert [here.value(f"draftline_pool_{name}") for name in ("in_use", "size")] == [1, 1]
            get = content_pb2.GetContentRequest(tenant_id="acme", collection="films", record_id="held")
            assert refused(here.stub.GetContent, get).reason == "OVERLOADED"
            assert here.value("draftline_pool_exhausted_total") == 1
        first.result()


def test_imports_by_what_became_of_their_records(database_url: str) -> None:
    with troubled(database_url) as here:
        here.load("a", "b")
        here.load("b", "c", "d", text="")
        here.load("a", text="other")
        outcomes = ("inserted", "updated", "unchanged", "deleted")
        assert [here.value("draftline_imported_records_total", outcome=each) for each in outcomes] == [4, 1, 1, 0]


def test_watcher_that_is_cut_off(database_url: str) -> None:
    """It is counted and let go at once, though it reads nothing, not even its status."""
    with troubled(database_url, stream_idle_timeout_s=0.2) as here:
        request = change_pb2.WatchChangesRequest(tenant_id="acme")
        stream = change_pb2_grpc.ChangeServiceStub(here.channel).WatchChanges(request)
        next(stream)
        ids = [f"m-{number}" for number in range(40)]
        cut_off = {"grpc_method": WATCH, "reason": "READER_TOO_SLOW"}

        def is_cut_off() -> bool:
            here.load(*ids, text=f"{here.value('draftline_imported_records_total')}" * 15_000)
            return here.value("draftline_streams_cut_off_total", **cut_off) == 1

        assert here.value("draftline_streams_cut_off_total") == 0
        until(is_cut_off)
        assert here.value("draftline_calls_open") == 0
        stream.cancel()


async def test_transaction_that_is_tried_again(database_url: str, connection: asyncpg.Connection) -> None:
    await connection.execute(
        """CREATE SEQUENCE tries; CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN IF nextval('tries') = 1 THEN RAISE SQLSTATE '40001'; END IF; RETURN NEW; END$$;
        CREATE TRIGGER collide BEFORE UPDATE ON draftline.record FOR EACH ROW EXECUTE FUNCTION collide()"""
    )
    with troubled(database_url) as here:
        here.load("a")
        here.stub.PatchContent(here.patch("a"), timeout=TIMEOUT_S)
        told = here.read()
    assert told.value("draftline_transaction_retries_total") == 1
    assert told.value("draftline_statement_failures_total", statement="patch_content") == 1
    assert told.value("draftline_call_statements_sum", grpc_method=PATCH) == 2


def test_database_that_is_away(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with troubled(database_url) as here:
        assert here.value("draftline_database_reachable") == 1

        async def away() -> None:
            raise OSError

        monkeypatch.setattr(here.server.app.server.health, "_probe", away)
        until(lambda: here.value("draftline_database_reachable") == 0)
