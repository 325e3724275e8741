"""The lines of calls as they are written: those of a turn of the loop at once, in the form of all other lines."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import redirect_stderr

import pytest
from draftline_server.domain.visible_text import visible
from draftline_server.observability.access_log import AccessLog, CallLine, Logged
from draftline_server.observability.access_log_writer import AccessLogWriter
from draftline_server.observability.telemetry import Telemetry


class Written(io.StringIO):
    """A stream that records writes and counts them."""

    times = 0

    def write(self, text: str) -> int:
        self.times += 1
        return super().write(text)


@pytest.fixture(autouse=True)
def _moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_790_000_000_000_042_000)


def line(level: str = "info", **values: object) -> CallLine:
    told = {"method": "a.B/C", "code": "OK", "duration_ms": 1.5, "statements": 0, "tenant_id": "", "user_id": "ada l"}
    return CallLine(level=level, event="call", **{**told, **values})


async def written(*lines: CallLine, log_format: str = "json", level: str = "info", worker: int = 0) -> Written:
    with redirect_stderr(Written()) as stream:
        lines_of_calls = AccessLogWriter(log_format, level, worker=worker)
    for each in lines:
        lines_of_calls.write(each)
    assert stream.getvalue() == ""
    await asyncio.sleep(0)
    return stream


async def test_lines_of_a_turn_are_written_at_once() -> None:
    stream = await written(line(), line("warning", reason="INTERNAL"), worker=2)
    assert stream.times == 1
    first, second = [json.loads(each) for each in stream.getvalue().splitlines()]
    assert first == {
        "timestamp": "2026-09-21T14:13:20.000042Z", "level": "info", "event": "call", "worker": 2, "method": "a.B/C",
        "code": "OK", "duration_ms": 1.5, "statements": 0, "tenant_id": "", "user_id": "ada l",
    }  # fmt: skip
    assert second == {**first, "level": "warning", "reason": "INTERNAL"}


async def test_lines_for_people_are_words() -> None:
    stream = await written(line(tenant_id="acme"), log_format="console")
    assert stream.getvalue() == (
        "2026-09-21T14:13:20.000042Z [info     ] call method=a.B/C code=OK duration_ms=1.5 statements=0 tenant_id=acme "
        "user_id='ada l'\n"
    )


async def test_lines_below_the_level_are_left_out() -> None:
    stream = await written(line(), line("warning"), level="warning")
    assert [json.loads(each)["level"] for each in stream.getvalue().splitlines()] == ["warning"]
    assert (await written(line(), level="error")).times == 0


async def test_log_that_is_closed_fails_no_call() -> None:
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    with redirect_stderr(Written()) as stream:
        lines = AccessLogWriter("json", "info")
    stream.close()
    telemetry = Telemetry()
    telemetry.listeners.append(AccessLog(Logged.ALL, 1.0, lines.write).call_ended)
    telemetry.end_call(telemetry.start_call(telemetry.method("a.B.C")))
    await asyncio.sleep(0)
    asyncio.get_running_loop().set_exception_handler(None)
    assert failed == []


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("user", ["\x9b2J", "\u202edlog", "a\ncode=OK", "a\u2028b", "a\rb", "\x7f", "é"], ids=ascii)
async def test_control_characters_of_callers_are_escapes(user: str, log_format: str) -> None:
    text = (await written(line(user_id=user), log_format=log_format)).getvalue()
    if log_format == "json":
        assert json.loads(text)["user_id"] == user
    else:
        assert text.endswith(f" user_id={user if user == 'é' else repr(user)}\n")
    assert (text.count("\n"), len(text.splitlines())) == (1, 1)
    assert visible(text) == text
