"""The trace that a call is part of, as W3C Trace Context tells it in the metadata `traceparent`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

TRACEPARENT = "traceparent"
LENGTH = 55  # characters; a version above 00 may have more at its end
_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


class TraceContext(NamedTuple):
    """Of whoever calls: ids in hexadecimal digits, and whether he records the trace."""

    trace_id: str
    span_id: str
    is_sampled: bool


def trace_context(metadata: Iterable[tuple[str, str | bytes]] | None) -> TraceContext | None:
    """None if there is none, or one that means nothing."""
    for key, value in metadata or ():
        if key == TRACEPARENT and isinstance(value, str):
            found = _FORM.fullmatch(value)
            if found is not None and (found[1] != "00" or len(value) == LENGTH):
                return TraceContext(found[2], found[3], bool(int(found[4], 16) & 1))
    return None
