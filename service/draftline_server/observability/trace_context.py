"""The trace that a call belongs to, from the metadata `traceparent` (W3C Trace Context)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

TRACEPARENT = "traceparent"
LENGTH = 55  # characters; versions above 00 may have more at the end
_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


class TraceContext(NamedTuple):
    """The caller's trace context: ids in hexadecimal digits, and whether the caller samples the trace."""

    trace_id: str
    span_id: str
    is_sampled: bool


def trace_context(metadata: Iterable[tuple[str, str | bytes]] | None) -> TraceContext | None:
    """Return the trace context; None if there is none or it is invalid."""
    for key, value in metadata or ():
        if key == TRACEPARENT and isinstance(value, str):
            found = _FORM.fullmatch(value)
            if found is not None and (found[1] != "00" or len(value) == LENGTH):
                return TraceContext(found[2], found[3], bool(int(found[4], 16) & 1))
    return None
