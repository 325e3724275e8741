"""Patches of the same records at once, over a real channel: none is lost, and no deadlock reaches anyone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import asyncpg
import grpc
import pytest
from draftline.v1 import content_pb2, content_pb2_grpc, types_pb2
from google.rpc import error_details_pb2, status_pb2

CALLERS = 50
TURNS = 4
RACERS = 20
COLLECTION = "raced"


@pytest.fixture(scope="module", params=["in_place", "replacing"])
def patching_server(request: pytest.FixtureRequest) -> Any:
    """Each of the two ways to patch."""
    return request.getfixturevalue("server" if request.param == "in_place" else "replacing_server")


@pytest.fixture(scope="module")
def stub(patching_server: Any) -> Iterator[content_pb2_grpc.ContentServiceStub]:
    with grpc.insecure_channel(patching_server.address) as channel:
        yield content_pb2_grpc.ContentServiceStub(channel)


@pytest.fixture
def deadlocks(patching_server: Any) -> Iterator[list[BaseException]]:
    """Those that PostgreSQL broke up, though a retry may have kept them from the caller."""
    found: list[BaseException] = []
    observers = patching_server.app.database.observers

    def observe(_: str, error: BaseException | None) -> None:
        if isinstance(error, asyncpg.DeadlockDetectedError):
            found.append(error)

    observers.append(observe)
    yield found
    observers.remove(observe)


def at_once(callers: int, call: Callable[[int], Any]) -> list[Any]:
    """Run the call of all callers concurrently, and return their results or errors."""
    start = Barrier(callers)

    def run(caller: int) -> Any:
        start.wait(timeout=30)
        return call(caller)

    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(run, range(callers)))


class Records:
    """The records of one tenant."""

    def __init__(self, stub: content_pb2_grpc.ContentServiceStub, tenant_id: str) -> None:
        self._stub = stub
        self._tenant_id = tenant_id

    def patching(self, record_id: str, change: dict[str, Any] | list[Any], **rest: Any) -> Any:
        request = content_pb2.PatchContentRequest(
            tenant_id=self._tenant_id, collection=COLLECTION, record_id=record_id, **rest
        )
        if isinstance(change, dict):
            request.delta.json = json.dumps(change)
        for op, path, value in change if isinstance(change, list) else ():
            request.operations.operations.add(op=op, path=path, value=types_pb2.JsonValue(json=json.dumps(value)))
        return request

    def patch(self, record_id: str, change: dict[str, Any] | list[Any], **rest: Any) -> Any:
        return self._stub.PatchContent(self.patching(record_id, change, **rest), timeout=60)

    def reason_of(self, record_id: str, change: dict[str, Any] | list[Any], **rest: Any) -> str:
        """Patch, and return the reason of the rejection; empty if it succeeded."""
        try:
            self.patch(record_id, change, **rest)
        except grpc.RpcError as error:
            details = dict(error.trailing_metadata())["grpc-status-details-bin"]
            info = error_details_pb2.ErrorInfo()
            assert status_pb2.Status.FromString(details).details[0].Unpack(info)
            return info.reason
        return ""

    def patch_all(self, requests: Sequence[Any]) -> Any:
        batch = content_pb2.BatchPatchContentRequest(tenant_id=self._tenant_id, requests=requests)
        return self._stub.BatchPatchContent(batch, timeout=60)

    def read(self, record_id: str) -> tuple[Any, int]:
        """Content and version."""
        request = content_pb2.GetContentRequest(
            tenant_id=self._tenant_id,
            collection=COLLECTION,
            record_id=record_id,
            response_encoding=types_pb2.ENCODING_JSON,
        )
        record = self._stub.GetContent(request, timeout=60).record
        return json.loads(record.content.json), record.version


@pytest.fixture
def records(stub: content_pb2_grpc.ContentServiceStub, tenant_id: str) -> Records:
    return Records(stub, tenant_id)


def test_different_keys_patched_at_once_are_all_there(records: Records) -> None:
    records.patch("1", {}, allow_missing=True)

    def call(caller: int) -> None:
        for turn in range(TURNS):
            records.patch("1", {f"{caller}-{turn}": turn})

    at_once(CALLERS, call)
    content, version = records.read("1")
    assert content == {f"{caller}-{turn}": turn for caller in range(CALLERS) for turn in range(TURNS)}
    assert version == 1 + CALLERS * TURNS


def test_increments_at_once_add_up(records: Records) -> None:
    records.patch("1", {"n": 10**29}, allow_missing=True)

    def call(_: int) -> None:
        for _turn in range(TURNS):
            records.patch("1", [("increment", "/n", 1)])

    at_once(CALLERS, call)
    assert records.read("1") == ({"n": 10**29 + CALLERS * TURNS}, 1 + CALLERS * TURNS)


def test_expected_version_lets_one_racer_win(records: Records) -> None:
    records.patch("1", {}, allow_missing=True)
    for version in range(1, 6):
        reasons = at_once(
            RACERS, lambda caller, v=version: records.reason_of("1", {"winner": f"{v}-{caller}"}, expected_version=v)
        )
        assert sorted(reasons) == ["", *["VERSION_MISMATCH"] * (RACERS - 1)]
        assert records.read("1") == ({"winner": f"{version}-{reasons.index('')}"}, version + 1)


def test_upserts_at_once_create_once_and_are_all_applied(records: Records) -> None:
    for record_id in ("1", "2", "3", "4", "5"):
        answers = at_once(
            RACERS, lambda caller, id_=record_id: records.patch(id_, {str(caller): 1}, allow_missing=True)
        )
        assert sorted(answer.record.version for answer in answers) == list(range(1, RACERS + 1))
        assert records.read(record_id) == ({str(caller): 1 for caller in range(RACERS)}, RACERS)


def test_upserts_that_expect_no_record_let_one_racer_win(records: Records) -> None:
    for record_id in ("1", "2", "3"):
        reasons = at_once(
            RACERS,
            lambda caller, id_=record_id: records.reason_of(
                id_, {"winner": caller}, allow_missing=True, expected_version=0
            ),
        )
        assert sorted(reasons) == ["", *["VERSION_MISMATCH"] * (RACERS - 1)]
        assert records.read(record_id) == ({"winner": reasons.index("")}, 1)


def test_batches_in_opposite_orders_are_all_applied(records: Records, deadlocks: list[BaseException]) -> None:
    callers, rounds = 10, 8
    ids = [f"{place:02}" for place in range(20)]
    records.patch_all([records.patching(record_id, {}, allow_missing=True) for record_id in ids])

    def call(caller: int) -> None:
        for _ in range(rounds):
            order = ids if caller % 2 else ids[::-1]
            records.patch_all([records.patching(record_id, [("increment", "/n", 1)]) for record_id in order])

    at_once(callers, call)
    applied = callers * rounds
    assert [records.read(record_id) for record_id in ids] == [({"n": applied}, applied + 1)] * 20
    assert deadlocks == []


def test_batches_that_create_in_opposite_orders_are_all_applied(
    records: Records, deadlocks: list[BaseException]
) -> None:
    callers, rounds = 10, 6
    # Each round finds half of its records there, and creates the other half.
    ids = [f"{place:03}" for place in range(10 * (rounds + 1))]

    def call(caller: int) -> None:
        for turn in range(rounds):
            window = ids[10 * turn : 10 * turn + 20]
            order = window if caller % 2 else window[::-1]
            requests = [records.patching(id_, [("increment", "/n", 1)], allow_missing=True) for id_ in order]
            records.patch_all(requests)

    at_once(callers, call)
    applied = [callers] * 10 + [2 * callers] * 10 * (rounds - 1) + [callers] * 10
    assert [records.read(record_id) for record_id in ids] == [({"n": times}, times) for times in applied]
    assert deadlocks == []
