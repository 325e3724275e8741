"""Watches over interrupted connections deliver each change once and in order."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import draftline
import grpc
import pytest
from draftline._core.change_calls import watch_changes
from draftline._core.watch_state import WatchState
from draftline._threads.message_reader import MessageReader
from draftline._threads.watchdog_timer import WatchdogTimer
from draftline.v1 import change_pb2
from hypothesis import given
from hypothesis import strategies as st
from support.both_clients import Connect
from support.scripted_log import ScriptedLog, change, unreadable
from support.scripted_responses import (
    ABORTED,
    CANCELLED,
    DEADLINE_EXCEEDED,
    INTERNAL,
    INVALID_ARGUMENT,
    OUT_OF_RANGE,
    QUICK,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    WAIT_S,
)
from support.scripted_server import HOLD, ScriptedServer, failure, info

LOG = [[change(1), change(2), change(3)], [], [change(4)], [change(5), change(6)], [], [change(7)]]
VERSIONS = [1, 2, 3, 4, 5, 6, 7]
GONE = failure(UNAVAILABLE, "gone")

# Statuses that end a stream, but not the watch.
BREAKS = [
    failure(UNAVAILABLE, "Socket closed"),
    failure(UNAVAILABLE, "the server is stopping", info("DRAINING")),
    failure(UNAVAILABLE, "read nothing", info("READER_TOO_SLOW")),
    failure(INTERNAL, "Received RST_STREAM with error code 2"),
    failure(CANCELLED, "Received RST_STREAM with error code 8"),
    failure(DEADLINE_EXCEEDED, "a proxy's own"),
    failure(2, "Stream removed"),
    failure(ABORTED, "collided", info("CONTENTION")),
    failure(RESOURCE_EXHAUSTED, "2000 watchers are served already", info("OVERLOADED")),
    None,
]


async def versions(client: Any, count: int = len(VERSIONS)) -> list[int]:
    async with client.watch("movies") as watch:
        return [(await anext(watch)).version for _ in range(count)]


@pytest.mark.parametrize("after", range(1, len(LOG) + 1))
async def test_watch_resumes_wherever_it_was_interrupted(
    connect: Connect, scripted: ScriptedServer, after: int
) -> None:
    log = ScriptedLog(LOG, [(after, GONE), (0, GONE), (1, GONE), (2, GONE)])
    scripted.answers["WatchChanges"] = log
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        assert await versions(client) == VERSIONS
    assert log.tokens[:2] == ["", str(after - 1)]


async def test_watch_interrupted_before_it_was_ready_starts_again(connect: Connect, scripted: ScriptedServer) -> None:
    log = ScriptedLog(LOG, [(0, GONE), (0, None)])
    scripted.answers["WatchChanges"] = log
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        assert await versions(client) == VERSIONS
    assert log.tokens == ["", "", ""]


@pytest.mark.parametrize("end", BREAKS, ids=lambda end: end.message if end else "orderly")
async def test_watch_resumes_after_every_kind_of_interruption(
    connect: Connect, scripted: ScriptedServer, end: Any
) -> None:
    scripted.answers["WatchChanges"] = ScriptedLog(LOG, [(0, end), (2, end), (0, end)])
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        assert await versions(client) == VERSIONS


async def test_items_of_a_message_survive_its_connection(connect: Connect, scripted: ScriptedServer) -> None:
    log = ScriptedLog(LOG, [(2, GONE)])
    scripted.answers["WatchChanges"] = log
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client, client.watch("movies") as watch:
        assert (await anext(watch)).version == 1
        assert scripted.stream_ended.wait(WAIT_S)
        assert [(await anext(watch)).version for _ in VERSIONS[1:]] == VERSIONS[1:]
    assert log.tokens == ["", "1"]


def test_interrupted_read_of_a_blocking_watch_loses_no_item(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ScriptedLog(LOG, [])
    scripted.answers["WatchChanges"] = log
    read = MessageReader.read

    def read_and_interrupt(reader: MessageReader) -> Any:
        monkeypatch.undo()
        read(reader)  # the message is taken from the stream, and lost with the exception
        raise KeyboardInterrupt

    with (
        draftline.Client(scripted.address, tenant_id="acme", retry=QUICK) as client,
        client.watch("movies") as watch,
    ):
        seen = [next(watch).version for _ in range(3)]
        monkeypatch.setattr(MessageReader, "read", read_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            next(watch)
        seen += [next(watch).version for _ in VERSIONS[3:]]
    assert seen == VERSIONS
    assert len(log.tokens) == 2


async def test_watch_that_was_ready_does_not_give_up(connect: Connect, scripted: ScriptedServer) -> None:
    outage = [(0, GONE)] * (3 * QUICK.max_attempts)
    scripted.answers["WatchChanges"] = ScriptedLog(LOG, [(2, GONE), *outage])
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        assert await versions(client) == VERSIONS


async def test_watch_that_was_never_ready_gives_up(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["WatchChanges"] = lambda _: [GONE]
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client:
        with pytest.raises(draftline.UnavailableError):
            await versions(client)
    assert len(scripted.requests) == QUICK.max_attempts


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (failure(OUT_OF_RANGE, "too old", info("TOKEN_EXPIRED")), draftline.TokenExpiredError),
        (failure(INVALID_ARGUMENT, "no", info("INVALID_FILTER", position="3")), draftline.InvalidFilterError),
        (failure(INTERNAL, "sorry", info("INTERNAL", incident_id="i-1")), draftline.InternalError),
        (failure(7, "not yours"), draftline.PermissionDeniedError),
        (failure(RESOURCE_EXHAUSTED, "Received message larger than max"), draftline.ResourceExhaustedError),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_error_of_the_service_is_raised_and_the_token_stays(
    connect: Connect, scripted: ScriptedServer, status: Any, error: type[draftline.DraftlineError]
) -> None:
    log = ScriptedLog(LOG, [(2, status), (0, status)])
    scripted.answers["WatchChanges"] = log
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client, client.watch("movies") as watch:
        assert [(await anext(watch)).version for _ in range(3)] == [1, 2, 3]
        for _ in range(2):
            with pytest.raises(error):
                await anext(watch)
        assert [(await anext(watch)).version for _ in range(3)] == [4, 5, 6]
    assert log.tokens == ["", "1", "1"]


async def test_silent_connection_is_replaced(connect: Connect, scripted: ScriptedServer) -> None:
    log = ScriptedLog(LOG, [(0, HOLD), (3, HOLD), (1, HOLD)])
    scripted.answers["WatchChanges"] = log
    async with (
        connect(scripted.address, tenant_id="acme", retry=QUICK) as client,
        client.watch("movies", silence_s=0.2) as watch,
    ):
        assert [(await anext(watch)).version for _ in VERSIONS] == VERSIONS
    assert len(log.tokens) > 3


async def test_invalid_message_is_requested_again(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["WatchChanges"] = ScriptedLog([[change(0)], [change(1), unreadable(2)]])
    async with connect(scripted.address, tenant_id="acme", retry=QUICK) as client, client.watch("movies") as watch:
        assert (await anext(watch)).version == 0
        for _ in range(2):
            with pytest.raises(ValueError, match="Expecting property name"):
                await anext(watch)
        assert watch.resume_token == "1"


STEPS = st.lists(st.sampled_from(["connect", "take", "hand over", "hand over", "hand over all"]))


@given(st.lists(st.integers(0, 3), max_size=8), STEPS)
def test_token_covers_exactly_the_delivered_items(sizes: list[int], steps: list[str]) -> None:
    numbers = iter(range(100))
    log = [[next(numbers) for _ in range(size)] for size in sizes]
    state = WatchState(watch_changes("acme", "movies", filter="", resume_token="0", omit_values=False), QUICK)
    place, handed_over = 0, []
    for step in steps:
        if step == "connect" and not state.has_items:
            place = int(state.request().resume_token)
        elif step == "take" and not state.has_items and place < len(log):
            place += 1
            changes = [change(number) for number in log[place - 1]]
            state.accept(change_pb2.WatchChangesResponse(changes=changes, resume_token=str(place)))
        elif step == "hand over" and state.has_items:
            handed_over.append(state.pop_item().version)
        elif step == "hand over all" and state.has_items:
            handed_over += [each.version for each in state.pop_items()]
        whole = [number for message in log[: int(state.resume_token)] for number in message]
        if state.has_items:  # the first of a message
            assert handed_over[: len(whole)] == whole
            assert len(whole) <= len(handed_over) < len(whole) + len(log[place - 1])
        else:
            assert handed_over == whole


def test_pauses_grow_while_connections_break_after_their_first_message() -> None:
    error = draftline.UnavailableError(grpc.StatusCode.UNAVAILABLE, "gone")
    bounds: list[int] = []

    class Noting(draftline.Retry):
        def pause_s(self, failures: int, error: draftline.DraftlineError) -> float:
            bounds.append(failures)
            return 0.0

    state = WatchState(watch_changes("acme", None, filter="", resume_token="", omit_values=False), Noting())
    for messages in (1, 1, 1, 2, 1):
        state.request()
        for _ in range(messages):
            state.accept(change_pb2.WatchChangesResponse(resume_token="1"))
        assert state.pause_s(error) == 0.0
    assert bounds == [1, 2, 3, 1, 2]


class Bell:
    def __init__(self) -> None:
        self.rung = threading.Event()

    def ring(self) -> None:
        self.rung.set()


def test_watchdog_fires_in_a_block_that_takes_too_long() -> None:
    bell = Bell()
    watchdog = WatchdogTimer(0.05, bell.ring)
    with watchdog:
        assert bell.rung.wait(WAIT_S)
    watchdog.stop()


def watchdogs() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "draftline-watchdog"}


def test_watchdog_does_not_keep_its_owner_alive() -> None:
    bell = Bell()
    gone = weakref.ref(bell)
    before = watchdogs()
    WatchdogTimer(0.05, bell.ring)
    (thread,) = watchdogs() - before
    del bell
    gc.collect()
    assert gone() is None
    thread.join(WAIT_S)
    assert not thread.is_alive()
