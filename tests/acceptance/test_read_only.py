"""A database that takes no writes: they are refused as such, reads go on, and so do writes once it takes them again."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import grpc
from draftline.v1 import change_pb2, change_pb2_grpc, content_pb2_grpc
from support.crash_harness import staged
from support.draft_calls import Drafts, edit
from support.polling import until
from support.responses import Records, refusal_of
from support.servers import run_sql, serving

STANDBY = "standby.signal"
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'draftline%'"


class Caller:
    """Reads and writes a record that it made."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._records = Records(content_pb2_grpc.ContentServiceStub(channel), "acme")
        self._drafts = Drafts(channel, "acme", "ada")
        self._changes = change_pb2_grpc.ChangeServiceStub(channel)
        self._records.create("m-1", {"a": 1})

    def reads(self) -> bool:
        """Return whether all reads succeed; they may fail until their connections are replaced."""
        try:
            assert self._records.content("m-1") == {"a": 1}
            assert self._drafts.ids() == ["m-1"]
            assert next(self._changes.WatchChanges(change_pb2.WatchChangesRequest(tenant_id="acme"))).resume_token
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        return True

    def is_told_that_writes_are_refused(self) -> bool:
        """Return whether all writes are rejected because the database is read-only."""
        writes = [
            (self._records.stub.PatchContent, self._records.patching("m-1", {"a": 2})),
            (self._records.stub.CreateContent, self._records.creation("m-2", {})),
            (self._drafts.stub.SaveDraft, self._drafts.saving(edit("m-1", {"a": 3}))),
            (self._drafts.stub.Commit, self._drafts.committing(all=True)),
        ]
        told = []
        for write, request in writes:
            try:
                write(request, timeout=10, metadata=self._drafts.metadata)
            except grpc.RpcError as error:
                refusal = refusal_of(error)
                assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
                told.append(refusal.message)
        return told == ["the database takes no writes now; nothing was changed, try again later"] * len(writes)

    def writes(self) -> bool:
        try:
            return self._records.patch("m-1", {"a": 1, "b": 2}).record.version == 2
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False


def test_standby_serves_reads_and_once_promoted_writes(data_dir: Path) -> None:
    with staged(data_dir) as stage, grpc.insecure_channel(stage.address) as channel:
        caller = Caller(channel)

        def as_standby() -> None:
            stage.postgres.stop()
            (data_dir / "cluster" / STANDBY).touch()
            stage.postgres.start()

        stage.beside(as_standby).result()
        until(caller.reads)
        until(caller.is_told_that_writes_are_refused)
        run_sql(stage.postgres.url, "SELECT pg_promote()")
        until(caller.writes)


def test_session_that_is_read_only_is_not_kept(database_url: str) -> None:
    read_only = "ALTER DATABASE {} SET default_transaction_read_only = {}"
    name = urlsplit(database_url).path[1:]
    with serving(database_url) as server, grpc.insecure_channel(server.address) as channel:
        caller = Caller(channel)
        run_sql(database_url, read_only.format(name, "on"), TERMINATE)
        until(caller.reads)
        until(caller.is_told_that_writes_are_refused)
        run_sql(database_url, "SET default_transaction_read_only = off", read_only.format(name, "off"))
        until(caller.writes)
