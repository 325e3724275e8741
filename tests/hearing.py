"""What the service writes to its log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from draftline_server.ops import logs
from structlog.testing import capture_logs
from structlog.typing import EventDict


@contextmanager
def logged() -> Iterator[list[EventDict]]:
    """All events of this process until the end of the block, of any level."""
    before = structlog.get_config()
    logs.configure("console", "debug")
    try:
        with capture_logs() as events:
            yield events
    finally:
        structlog.configure(**before)
