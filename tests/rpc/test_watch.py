"""WatchChanges: each change once and in order, also from a token on, and what a slow or a late watcher is told."""

from __future__ import annotations

import base64
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from draftline.v1 import change_pb2, change_pb2_grpc, content_pb2_grpc
from support.draft_calls import Drafts
from support.log_capture import logged
from support.polling import until
from support.responses import INVALID, TIMEOUT_S, Records, content_of, exact, refusal_of
from support.servers import on_database
from support.watch_stream import watching

MERGED = change_pb2.WATCH_VIEW_MERGED


def records_of(channel: grpc.Channel, tenant_id: str) -> Records:
    return Records(content_pb2_grpc.ContentServiceStub(channel), tenant_id)


@pytest.fixture
def stub(grpc_channel: grpc.Channel) -> change_pb2_grpc.ChangeServiceStub:
    return change_pb2_grpc.ChangeServiceStub(grpc_channel)


def test_changes_come_as_they_are_listed(
    records: Records, ada: Drafts, grpc_channel: grpc.Channel, tenant_id: str, stub: Any
) -> None:
    with watching(grpc_channel, tenant_id) as watcher:
        assert not watcher.messages[0].changes
        records.create("1", {"a": 1, "b": {"c": 1}})
        records.patch("1", {"b": {"c": 2}}, change_reason="why not")
        ada.change("1", {"a": 2})
        ada.commit()
        records.delete("1")
        seen = watcher.changes(4)
    assert [(change.version, change_pb2.ChangeKind.Name(change.kind)) for change in seen] == [
        (1, "CHANGE_KIND_CREATE"),
        (2, "CHANGE_KIND_UPDATE"),
        (3, "CHANGE_KIND_UPDATE"),
        (4, "CHANGE_KIND_DELETE"),
    ]
    assert seen[1].change_reason == "why not"
    assert (seen[1].paths[0].path, exact(seen[1].paths[0].new_value.json)) == ("/b/c", 2)
    listed = stub.ListChanges(
        change_pb2.ListChangesRequest(tenant_id=tenant_id, order_by="create_time", response_encoding=2),
        timeout=TIMEOUT_S,
    )
    assert list(listed.changes) == seen


def test_watch_goes_on_after_its_token(records: Records, grpc_channel: grpc.Channel, tenant_id: str) -> None:
    with watching(grpc_channel, tenant_id) as watcher:
        records.create("1", {})
        assert watcher.versions(1) == [("1", 1)]
    for version in range(2, 30):
        records.patch("1", {"n": version})
    with watching(grpc_channel, tenant_id, resume_token=watcher.token) as resumed:
        assert resumed.versions(28) == [("1", version) for version in range(2, 30)]
    with watching(grpc_channel, tenant_id, resume_token=watcher.messages[0].resume_token) as from_the_start:
        assert from_the_start.versions(29) == [("1", version) for version in range(1, 30)]


def test_watchers_of_one_tenant_all_see_all(records: Records, grpc_channel: grpc.Channel, tenant_id: str) -> None:
    def watch(seen: int) -> list[tuple[str, int]]:
        with watching(grpc_channel, tenant_id) as watcher:
            started.append(seen)
            return watcher.versions(40)

    started: list[int] = []
    with ThreadPoolExecutor(12) as pool:
        watchers = [pool.submit(watch, place) for place in range(8)]
        until(lambda: len(started) == 8)
        writers = [pool.submit(records.create, str(place), {}) for place in range(40)]
        for writer in writers:
            writer.result()
        seen = [watcher.result(timeout=TIMEOUT_S) for watcher in watchers]
    assert all(each == seen[0] for each in seen)
    assert sorted(seen[0]) == sorted((str(place), 1) for place in range(40))


def test_collection_and_filter_choose(records: Records, grpc_channel: grpc.Channel, tenant_id: str) -> None:
    with (
        watching(grpc_channel, tenant_id, collection="films", filter="kind = DELETE") as deletions,
        watching(grpc_channel, tenant_id, collection="elsewhere") as elsewhere,
        watching(grpc_channel, f"{tenant_id}-2") as stranger,
        watching(grpc_channel, tenant_id, omit_values=True) as brief,
    ):
        records.create("1", {"a": 1})
        records.delete("1")
        assert deletions.versions(1) == [("1", 2)]
        created = brief.changes(2)[0]
        assert created.values_omitted
        assert not created.paths[0].HasField("new_value")
        replace(records, collection="elsewhere").create("1", {})
        assert elsewhere.versions(1) == [("1", 1)]
        replace(records, tenant_id=f"{tenant_id}-2").create("2", {})
        assert stranger.versions(1) == [("2", 1)]


def test_merged_view_is_what_its_user_sees(
    records: Records, ada: Drafts, bob: Drafts, grpc_channel: grpc.Channel, tenant_id: str
) -> None:
    records.create("1", {"genre": "Drama", "n": 1})
    with (
        watching(grpc_channel, tenant_id, "ada", collection="films", view=MERGED, filter="genre = Drama") as hers,
        watching(grpc_channel, tenant_id, "bob", collection="films", view=MERGED) as his,
    ):
        ada.change("1", {"n": 2})
        (drafted,) = hers.merged(1)
        assert content_of(drafted.record.record) == {"genre": "Drama", "n": 2}
        assert drafted.record.draft_version == 1
        records.patch("1", {"m": 3})
        (refreshed,) = hers.merged(1)
        assert content_of(refreshed.record.record) == {"genre": "Drama", "n": 2, "m": 3}
        assert content_of(his.merged(1)[0].record.record) == {"genre": "Drama", "n": 1, "m": 3}
        ada.change("1", {"genre": "Comedy"})
        (left,) = hers.merged(1)
        assert (left.record_id, left.HasField("record")) == ("1", False)
        ada.discard()
        assert content_of(hers.merged(1)[0].record.record) == {"genre": "Drama", "n": 1, "m": 3}
        records.delete("1")
        assert not hers.merged(1)[0].HasField("record")
        assert not his.merged(1)[0].HasField("record")


def test_heartbeats_come_and_move_the_token(serving: Any, database_url: str, tenant_id: str) -> None:
    with serving(database_url, watch_heartbeat_s=0.1) as running, grpc.insecure_channel(running.address) as channel:
        with watching(channel, tenant_id) as watcher:
            first = watcher.token
            records_of(channel, "another tenant").create("1", {})
            while watcher.next().resume_token == first:
                assert not watcher.messages[-1].changes
        records_of(channel, tenant_id).create("1", {})
        with watching(channel, tenant_id, resume_token=watcher.token) as resumed:
            assert resumed.versions(1) == [("1", 1)]


def test_heartbeats_come_while_others_are_sent_changes(serving: Any, database_url: str, tenant_id: str) -> None:
    with serving(database_url, watch_heartbeat_s=0.3) as running, grpc.insecure_channel(running.address) as channel:
        records, over = records_of(channel, tenant_id), threading.Event()

        def write() -> None:
            for n in itertools.count():
                if over.is_set():
                    return
                records.create(str(n), {})

        with watching(channel, tenant_id, collection="untouched") as watcher, ThreadPoolExecutor() as pool:
            writing = pool.submit(write)
            try:
                first = watcher.token
                while watcher.next().resume_token == first:
                    assert not watcher.messages[-1].changes
            finally:
                over.set()
            writing.result()


@pytest.mark.parametrize("place", [0, 7, 20, -1])
def test_token_with_one_byte_changed_is_refused(
    grpc_channel: grpc.Channel, stub: Any, tenant_id: str, place: int
) -> None:
    with watching(grpc_channel, tenant_id) as watcher:
        token = watcher.token
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[place] ^= 1
    _refused_token(stub, tenant_id, base64.urlsafe_b64encode(raw).decode().rstrip("="))


def test_token_is_good_for_its_own_watch_alone(
    grpc_channel: grpc.Channel, stub: Any, records: Records, ada: Drafts, tenant_id: str
) -> None:
    with watching(grpc_channel, tenant_id) as watcher:
        token = watcher.token
    _refused_token(stub, f"{tenant_id}-2", token)
    _refused_token(stub, tenant_id, token, collection="films")
    _refused_token(stub, tenant_id, token, filter="kind = CREATE")
    _refused_token(stub, tenant_id, token, collection="films", view=MERGED)
    with watching(grpc_channel, tenant_id, "ada", collection="films", view=MERGED) as hers:
        token = hers.token
    _refused_token(stub, tenant_id, token, collection="films", view=MERGED, user="bob")
    records.create("1", {})
    page = ada.page(page_size=1, order_by="a")
    _refused_token(stub, tenant_id, page.next_page_token or "x")


def _refused_token(stub: Any, tenant_id: str, token: str, user: str = "ada", **request: Any) -> None:
    watch = change_pb2.WatchChangesRequest(tenant_id=tenant_id, resume_token=token, **request)
    refusal = _watch_refused(stub, watch, user)
    assert (refusal.code, refusal.reason, list(refusal.fields)) == (INVALID, "INVALID_FIELD", ["resume_token"])


def _watch_refused(stub: Any, request: change_pb2.WatchChangesRequest, user: str = "ada") -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        next(stub.WatchChanges(request, timeout=TIMEOUT_S, metadata=(("x-draftline-user", user),)))
    return refusal_of(caught.value)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"view": MERGED}, "collection"),
        ({"filter": "title = x"}, "filter"),
        ({"filter": "kind ="}, "filter"),
        ({"view": MERGED, "collection": "films", "filter": "record.nothing = 1"}, "filter"),
        ({"collection": "x" * 129}, "collection"),
        ({"view": 99}, "view"),
    ],
)
def test_bad_watch_names_its_field(stub: Any, tenant_id: str, request_: dict[str, Any], field: str) -> None:
    refusal = _watch_refused(stub, change_pb2.WatchChangesRequest(tenant_id=tenant_id, **request_))
    assert refusal.code is INVALID
    assert list(refusal.fields) == [field]


def test_token_that_is_older_than_the_log_is_out_of_range(
    serving: Any, database_url: str, tenant_id: str, sql: Any
) -> None:
    with serving(database_url) as running, grpc.insecure_channel(running.address) as channel:
        with watching(channel, tenant_id) as watcher:
            pass
        sql(database_url, "UPDATE draftline.change_log SET dropped_xact = draftline.log_horizon() + 10")
        stub = change_pb2_grpc.ChangeServiceStub(channel)
        request = change_pb2.WatchChangesRequest(tenant_id=tenant_id, resume_token=watcher.token)
        refusal = _watch_refused(stub, request)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "TOKEN_EXPIRED")
        assert "empty token" in refusal.message


def test_other_servers_watchers_are_woken(serving: Any, database_url: str, tenant_id: str) -> None:
    """Through NOTIFY: the heartbeat, which would find the change as well, is too far away to help."""
    with (
        serving(database_url, watch_heartbeat_s=600) as one,
        serving(database_url, watch_heartbeat_s=600) as other,
        grpc.insecure_channel(one.address) as channel,
        grpc.insecure_channel(other.address) as elsewhere,
        watching(channel, tenant_id) as watcher,
    ):
        for version in range(1, 4):
            records_of(elsewhere, tenant_id).patch("1", {"n": version}, allow_missing=True)
            assert watcher.versions(1) == [("1", version)]


def test_one_connection_listens_whatever_the_number_of_watchers_and_comes_back(
    serving: Any, database_url: str, tenant_id: str, sql: Any
) -> None:
    listening = """
        SELECT pid FROM pg_stat_activity
        WHERE application_name = 'draftline watch' AND datname = current_database()
    """
    with (
        serving(database_url, watch_heartbeat_s=600) as one,
        serving(database_url, watch_heartbeat_s=600) as other,
        grpc.insecure_channel(one.address) as channel,
        grpc.insecure_channel(other.address) as elsewhere,
        watching(channel, tenant_id) as watcher,
        watching(channel, tenant_id),
        watching(channel, f"{tenant_id}-2"),
    ):
        until(lambda: len(sql(database_url, listening)) == 2)
        before = {row["pid"] for row in sql(database_url, listening)}
        sql(database_url, f"SELECT pg_terminate_backend(pid) FROM ({listening}) AS l")
        records_of(elsewhere, tenant_id).create("1", {})
        assert watcher.versions(1) == [("1", 1)]
        until(lambda: len({row["pid"] for row in sql(database_url, listening)} - before) == 2)


def test_watcher_that_stops_reading_is_told_to_resume(serving: Any, database_url: str, tenant_id: str) -> None:
    """It loses nothing: what it was sent is whole, and the rest comes after its last token."""
    big = {"text": "x" * 200_000}
    with (
        logged() as events,
        serving(database_url, stream_idle_timeout_s=0.5) as running,
        grpc.insecure_channel(running.address) as channel,
    ):
        records = records_of(channel, tenant_id)
        # A channel of its own: what is not read of it fills the window of its connection.
        with (
            grpc.insecure_channel(running.address, options=[("grpc.use_local_subchannel_pool", 1)]) as slow,
            watching(slow, tenant_id) as watcher,
        ):
            for place in range(60):
                records.create(str(place), big)
            until(lambda: "READER_TOO_SLOW" in str(events))
            refusal = refusal_of(watcher.broken())
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "READER_TOO_SLOW")
        seen = [change.record_id for message in watcher.messages for change in message.changes]
        assert 0 < len(seen) < 60
        with watching(channel, tenant_id, resume_token=watcher.token) as resumed:
            rest = [change.record_id for change in resumed.changes(60 - len(seen))]
        assert seen + rest == [str(place) for place in range(60)]


def test_stopping_server_ends_a_watch_with_a_token(serving: Any, database_url: str, tenant_id: str) -> None:
    with ExitStack() as stack:
        running = stack.enter_context(serving(database_url))
        channel = grpc.insecure_channel(running.address)
        with watching(channel, tenant_id) as watcher:
            records_of(channel, tenant_id).create("1", {})
            watcher.versions(1)
            threading.Thread(target=stack.close).start()
            refusal = refusal_of(watcher.broken())
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        channel.close()
    with serving(database_url) as running, grpc.insecure_channel(running.address) as channel:
        records_of(channel, tenant_id).create("2", {})
        with watching(channel, tenant_id, resume_token=watcher.token) as resumed:
            assert resumed.versions(1) == [("2", 1)]


def test_too_many_watchers_are_refused(serving: Any, database_url: str, tenant_id: str) -> None:
    with serving(database_url, max_watchers=2) as running, grpc.insecure_channel(running.address) as channel:
        stub = change_pb2_grpc.ChangeServiceStub(channel)
        request = change_pb2.WatchChangesRequest(tenant_id=tenant_id)
        with watching(channel, tenant_id), watching(channel, f"{tenant_id}-2"):
            assert _watch_refused(stub, request).reason == "OVERLOADED"

        def watches_again() -> bool:
            try:
                with watching(channel, tenant_id):
                    return True
            except grpc.RpcError:
                return False

        until(watches_again)


def test_watchers_of_one_tenant_leave_room_for_others(serving: Any, database_url: str, tenant_id: str) -> None:
    with serving(database_url, max_watchers=4) as running, grpc.insecure_channel(running.address) as channel:
        stub = change_pb2_grpc.ChangeServiceStub(channel)
        with watching(channel, tenant_id), watching(channel, tenant_id), watching(channel, tenant_id):
            assert _watch_refused(stub, change_pb2.WatchChangesRequest(tenant_id=tenant_id)).reason == "OVERLOADED"
            with watching(channel, f"{tenant_id}-2"):
                pass


def test_watch_of_a_database_that_is_away_says_so(serving: Any, database_url: str, tenant_id: str, sql: Any) -> None:
    with serving(database_url, watch_heartbeat_s=0.2) as running, grpc.insecure_channel(running.address) as channel:
        with watching(channel, tenant_id) as watcher:
            name, elsewhere = urlsplit(database_url).path[1:], on_database(database_url, "postgres")
            sql(elsewhere, f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
            sql(elsewhere, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            refusal = refusal_of(watcher.broken())
            assert refusal.reason == "DATABASE_UNAVAILABLE"
            sql(elsewhere, f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
        with watching(channel, tenant_id, resume_token=watcher.token):
            pass
