"""The database's time, whatever this host's clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from draftline_server.background.clock_watch import ClockWatch
from draftline_server.store import clock as clock_module
from draftline_server.store.clock import MAX_AGE_S, DatabaseClock
from hypothesis import given
from hypothesis import strategies as st
from support.log_capture import logged

START = datetime(2026, 11, 28, 12, tzinfo=UTC)
DAY_S = 86_400.0


class Host:
    """The clocks of a host, and the true time; each goes as a test has it go."""

    def __init__(self) -> None:
        self.true_s = 0.0
        self.monotonic_s = 1_000.0
        self.wall_s = START.timestamp()

    def monotonic(self) -> float:
        return self.monotonic_s

    def time(self) -> float:
        return self.wall_s

    def pass_(self, seconds: float, *, rate: float = 1.0) -> None:
        self.true_s += seconds
        self.monotonic_s += seconds * rate
        self.wall_s += seconds * rate

    @property
    def true(self) -> datetime:
        return START + timedelta(seconds=self.true_s)

    def read(self, clock: DatabaseClock, there_s: float = 0.0, back_s: float = 0.0) -> None:
        """Asks the database, whose clock is true, over a network that takes its time."""
        sent_s = self.monotonic_s
        self.pass_(there_s)
        moment = self.true
        self.pass_(back_s)
        clock.note(moment, sent_s, self.monotonic_s)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(clock_module, "time", made)
    return made


@pytest.fixture
def clock() -> DatabaseClock:
    return DatabaseClock()


def test_nothing_is_known_before_the_first_reading(host: Host, clock: DatabaseClock) -> None:
    assert clock.now() is None
    assert clock.ahead_s() is None


@pytest.mark.parametrize("days", [100, -100, 0])
def test_host_that_is_off_knows_the_time(host: Host, clock: DatabaseClock, days: int) -> None:
    host.wall_s += days * DAY_S
    host.read(clock)
    host.pass_(30)
    assert clock.now() == host.true
    assert clock.ahead_s() == pytest.approx(days * DAY_S, abs=0.1)


@pytest.mark.parametrize("days", [100, -100])
def test_step_of_the_wall_clock_has_the_database_asked(host: Host, clock: DatabaseClock, days: int) -> None:
    host.read(clock)
    host.wall_s += days * DAY_S
    assert clock.now() is None
    host.read(clock, 0.5, 0.5)  # less exact than the one before
    assert abs(clock.now() - host.true) <= timedelta(seconds=0.5)


@pytest.mark.parametrize("days", [100, -100])
def test_step_of_the_monotonic_clock_has_the_database_asked(host: Host, clock: DatabaseClock, days: int) -> None:
    host.read(clock)
    host.monotonic_s += days * DAY_S
    assert clock.now() is None
    host.read(clock)
    assert clock.now() == host.true


def test_machine_that_was_suspended_has_the_database_asked(host: Host, clock: DatabaseClock) -> None:
    host.read(clock)
    host.true_s += 3 * DAY_S
    host.wall_s += 3 * DAY_S
    assert clock.now() is None
    host.read(clock)
    assert clock.now() == host.true


def test_reading_that_is_old_has_the_database_asked(host: Host, clock: DatabaseClock) -> None:
    host.read(clock)
    host.pass_(MAX_AGE_S - 1)
    assert clock.now() == host.true
    host.pass_(2)
    assert clock.now() is None


@pytest.mark.parametrize("days", [1, -1])
def test_database_whose_clock_is_set_is_followed_at_the_next_reading(
    host: Host, clock: DatabaseClock, days: int
) -> None:
    host.read(clock)
    host.true_s += days * DAY_S  # a failover, to a host with another clock
    host.read(clock, 0.2, 0.2)
    assert abs(clock.now() - host.true) <= timedelta(seconds=0.2)


def test_time_does_not_run_backwards_between_readings(host: Host, clock: DatabaseClock) -> None:
    host.read(clock, 0.0, 0.1)  # 50 ms ahead
    before = clock.now()
    host.pass_(0.01)
    host.read(clock)
    assert clock.now() >= before


STEPS = st.tuples(
    st.floats(0, 20), st.floats(0, 0.2), st.floats(0, 0.2), st.sampled_from([0.9996, 1.0, 1.0004]), st.integers(-3, 3)
)


@given(st.lists(STEPS, min_size=1, max_size=20))
def test_time_is_off_by_no_more_than_it_took_to_ask(steps: list[Any]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        host, clock = Host(), DatabaseClock()
        patched.setattr(clock_module, "time", host)
        for passed_s, there_s, back_s, rate, step in steps:
            host.wall_s += step * DAY_S
            host.read(clock, there_s, back_s)
            host.pass_(passed_s, rate=rate)
            moment = clock.now()
            # Half of what it took, and of what that before it took; and what either clock drifted in 20 s.
            assert moment is not None
            assert abs(moment - host.true) <= timedelta(seconds=0.2 + 0.2 + 0.05)


def test_clock_that_is_off_is_told_once_and_when_it_is_right_again(host: Host, clock: DatabaseClock) -> None:
    watch = ClockWatch(clock, 5.0)
    with logged() as events:
        for skew_s in (0.0, 4.0, 100 * DAY_S, 100 * DAY_S, 0.0, -6.0):
            host.wall_s = START.timestamp() + host.true_s + skew_s
            watch.check()  # a jump by itself is told by nobody: the next reading decides
            host.read(clock)
            watch.check()
            assert bool(watch.warning) == (abs(skew_s) > 5)
            assert watch.skew_s == pytest.approx(abs(skew_s), abs=0.1)
    assert [event["event"] for event in events] == ["clock_skew_detected", "clock_skew_resolved", "clock_skew_detected"]
    assert "8640000.0 s ahead of the database's" in events[0]["reason"]
    assert "6.0 s behind the database's" in events[2]["reason"]


def test_slow_network_is_no_wrong_clock(host: Host, clock: DatabaseClock) -> None:
    host.read(clock, 0.0, 12.0)  # answered at once, and on its way for long
    assert ClockWatch(clock, 5.0).warning == ""
