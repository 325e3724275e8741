"""Capture the log events of the service."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
import structlog
from draftline_server.observability import logs
from draftline_server.observability.access_log_writer import AccessLogWriter
from structlog.testing import capture_logs
from structlog.typing import EventDict


def _event(line: msgspec.Struct) -> EventDict:
    """Convert a line of the access log to a structlog event."""
    told = msgspec.to_builtins(line)
    return {"log_level": told.pop("level"), **{name: value for name, value in told.items() if name != "worker"}}


@contextmanager
def libraries_logged(level: int) -> Iterator[io.StringIO]:
    """Collect what libraries log, from a level on, until the end of the block."""
    text, root = io.StringIO(), logging.getLogger()
    handler, before = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(level)
    try:
        yield text
    finally:
        root.setLevel(before)
        root.removeHandler(handler)


@contextmanager
def logged() -> Iterator[list[EventDict]]:
    """Collect all log events of this process, of any level, until the end of the block."""
    before = structlog.get_config()
    logs.configure("console", "debug")
    try:
        with capture_logs() as events, pytest.MonkeyPatch.context() as patched:
            patched.setattr(AccessLogWriter, "write", lambda _, line: events.append(_event(line)))
            yield events
    finally:
        structlog.configure(**before)
