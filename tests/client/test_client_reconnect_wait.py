"""Pauses of the blocking client subscribe to its channel, and end early on a wake or a close."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from draftline._threads.reconnect_wait import ReconnectWait
from support.scripted_responses import WAIT_S

LONG_S = 1e6


@dataclass
class Channel:
    """Counts its subscriptions, in total and at present."""

    began: int = 0
    count: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def subscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        self._change(1)
        callback(grpc.ChannelConnectivity.IDLE)

    def unsubscribe(self, _: Callable[[grpc.ChannelConnectivity], None]) -> None:
        self._change(-1)

    def _change(self, by: int) -> None:
        with self.changed:
            self.began += by > 0
            self.count += by
            self.changed.notify_all()

    def until_waited_for(self) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.count, WAIT_S)


@pytest.fixture
def channel() -> Channel:
    return Channel()


def paused(pauses: ReconnectWait, *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=pauses.wait, args=(LONG_S, *arguments))
    thread.start()
    return thread


def test_channel_is_subscribed_to_only_during_a_pause(channel: Channel) -> None:
    pauses = ReconnectWait(channel)  # type: ignore[arg-type]
    for _ in range(2):
        pauses.wait(0.001)
    assert (channel.began, channel.count) == (2, 0)


def test_concurrent_pauses_subscribe_once(channel: Channel) -> None:
    pauses = ReconnectWait(channel)  # type: ignore[arg-type]
    long = paused(pauses)
    channel.until_waited_for()
    pauses.wait(0.001)
    assert (channel.began, channel.count) == (1, 1)
    pauses.close()
    long.join(WAIT_S)
    assert (channel.began, channel.count, long.is_alive()) == (1, 0, False)


def test_pause_whose_event_is_set_ends_at_a_wake(channel: Channel) -> None:
    pauses, over = ReconnectWait(channel), threading.Event()  # type: ignore[arg-type]
    threads = [paused(pauses, over), paused(pauses)]
    channel.until_waited_for()
    over.set()
    pauses.wake()
    threads[0].join(WAIT_S)
    assert [each.is_alive() for each in threads] == [False, True]
    pauses.close()
    threads[1].join(WAIT_S)


def test_close_returns_when_all_pauses_have_ended(channel: Channel) -> None:
    pauses = ReconnectWait(channel)  # type: ignore[arg-type]
    threads = [paused(pauses) for _ in range(3)]
    channel.until_waited_for()
    pauses.close()
    assert channel.count == 0
    pauses.wait(LONG_S)  # of no effect any more
    for each in threads:
        each.join(WAIT_S)
        assert not each.is_alive()
