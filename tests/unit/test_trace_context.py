"""W3C Trace Context as calls bring it, well-formed or not."""

from __future__ import annotations

import pytest
from draftline_server.observability.tracing import TraceContext, trace_context

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("traceparent", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
def test_context_is_read_from_the_metadata(traceparent: str, is_sampled: bool) -> None:
    metadata = [("user-agent", "grpcurl"), ("traceparent", traceparent)]
    assert trace_context(metadata) == TraceContext(TRACE, SPAN, is_sampled)


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        TRACE,
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        b"00",
    ],
)
def test_what_means_nothing_is_no_context(traceparent: str | bytes) -> None:
    assert trace_context([("traceparent", traceparent)]) is None


def test_without_metadata_there_is_no_context() -> None:
    assert trace_context(None) is trace_context([("tracestate", "a=b")]) is None
