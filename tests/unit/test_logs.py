"""The log tells what went wrong and where, in no words but its own."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import asyncpg
import pytest
import structlog
from draftline_server.observability import logs
from draftline_server.observability.access_log import slow_statements
from draftline_server.rpc.services.health import NOT_SERVING, Health
from draftline_server.store.query_stats import QueryTiming

SECRET = "Alien, and what it says"


FORMATS = pytest.mark.parametrize("log_format", ["json", "console"])


@contextmanager
def told(log_format: str) -> Iterator[io.StringIO]:
    """Collect the output to standard error until the end of the block."""
    before = structlog.get_config()
    with redirect_stderr(io.StringIO()) as written:
        logs.configure(log_format, "debug")
        try:
            yield written
        finally:
            structlog.configure(**before)


def failing() -> None:
    try:
        int(SECRET)
    except ValueError as error:
        broken = asyncpg.CheckViolationError(SECRET)
        broken.constraint_name = "record_content_check"
        raise broken from error


@FORMATS
def test_line_and_its_end_are_one_write(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the lines of several workers, who share the stream, would run into each other."""
    writes: list[str] = []
    with told(log_format) as written:
        monkeypatch.setattr(written, "write", writes.append)
        logs.configure(log_format, "debug")
        for event in ("one", "two"):
            structlog.get_logger().warning(event)
    assert [(text.count("\n"), text[-1]) for text in writes] == [(1, "\n")] * 2


@FORMATS
@pytest.mark.parametrize("is_given", [True, False])
def test_exception_is_told_by_its_type_and_place_alone(log_format: str, is_given: bool) -> None:
    with told(log_format) as written:
        try:
            failing()
        except asyncpg.CheckViolationError as error:
            structlog.get_logger().error("unexpected_error", exc_info=error if is_given else True)
    text = written.getvalue()
    assert "CheckViolationError 23514 record_content_check" in text
    assert f"{__name__}.failing:" in text
    assert text.index("CheckViolationError") < text.index("caused by") < text.index("ValueError")
    assert SECRET not in text
    assert __file__ not in text


@FORMATS
def test_log_of_a_library_is_told_by_its_place_alone(log_format: str) -> None:
    with told(log_format) as written:
        try:
            failing()
        except asyncpg.CheckViolationError:
            logging.getLogger("asyncio").exception("Task exception was never retrieved: %s", SECRET)
        logging.getLogger("asyncio").info("nothing to tell: %s", SECRET)
    text = written.getvalue()
    assert text.count("library_log") == 1
    assert "asyncio" in text
    assert "test_logs:" in text
    assert "CheckViolationError 23514" in text
    assert SECRET not in text


def test_configuring_again_tells_nothing_twice() -> None:
    with told("console") as written:
        logs.configure("console", "debug")
        logging.getLogger("asyncio").warning("once")
    assert written.getvalue().count("library_log") == 1


@FORMATS
async def test_log_that_is_closed_fails_nobody(log_format: str) -> None:
    async def no_answer() -> None:
        raise ConnectionError

    health = Health([], no_answer)
    with told(log_format) as written:
        written.close()
        slow_statements(0.0)(QueryTiming("get_content", 0.0, 1.0, False))
        logging.getLogger("asyncio").warning("nobody hears it")
        await health.start()
    assert health.status("") == NOT_SERVING
    assert not health.is_reachable
    await health.drain()


@pytest.mark.parametrize("value", ["\x9b2J", "a \x1b[2J", "\u202edlog", "a\u2028b", "a\nb", ["\x9b2J"]], ids=ascii)
def test_value_shows_control_characters_as_escapes(value: object) -> None:
    with told("console") as written:
        structlog.get_logger().info("event", value=value)
    text = written.getvalue()
    assert set(text).isdisjoint("\x9b\x1b\u202e\u2028")
    assert (text.count("\n"), text[-1]) == (1, "\n")
