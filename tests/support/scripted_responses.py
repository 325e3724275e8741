"""Responses of the scripted server that several test files share."""

from __future__ import annotations

from typing import Any

import draftline
from draftline.v1 import content_pb2, types_pb2
from google.protobuf.timestamp_pb2 import Timestamp

CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = 1, 3, 4, 8
ABORTED, OUT_OF_RANGE, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 10, 11, 13, 14, 16

# Backoffs too short to notice.
QUICK = draftline.Retry(max_attempts=4, initial_backoff_s=0.001, max_backoff_s=0.01)
WAIT_S = 10


def record(**fields: Any) -> types_pb2.Record:
    message = types_pb2.Record(
        tenant_id="acme",
        collection="movies",
        record_id="m-1",
        content=types_pb2.Document(json='{"n": 0.1, "big": 123456789012345678901234567890.5}'),
        version=1,
        create_time=Timestamp(seconds=1_700_000_000, nanos=123_456_000),
        update_time=Timestamp(seconds=1_700_000_000),
        created_by="ada",
    )
    message.MergeFrom(types_pb2.Record(**fields))
    return message


def found(_: Any) -> content_pb2.GetContentResponse:
    return content_pb2.GetContentResponse(record=record())
