"""One reason in the contract, one error class, one row of the status table."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
import pytest
from draftline.v1 import error_reason_pb2
from draftline_server.domain import errors
from draftline_server.domain.errors import DraftlineError, InvalidFieldError, OverloadedError
from draftline_server.rpc.status import CODES, internal_error, status_of
from draftline_server.store.driver_errors import UnforeseenError
from google.rpc import error_details_pb2
from support.log_capture import logged

PROTO = Path(__file__).parents[2] / "protos" / "draftline" / "v1" / "error_reason.proto"
PREFIX = "ERROR_REASON_"
REASONS = sorted(
    name.removeprefix(PREFIX)
    for name in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name
    if not name.endswith("_UNSPECIFIED")
)
CLASSES = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, DraftlineError) and each is not DraftlineError
]  # fmt: skip
TRAILER_BYTES = 6 * 1024  # what clients take of trailing metadata without question


def comments() -> dict[str, str]:
    """The comment of each reason of the contract, as one line."""
    found = re.findall(rf"((?:^ *//.*\n)+) *{PREFIX}(\w+) = \d+;", PROTO.read_text(), flags=re.MULTILINE)
    return {reason: " ".join(re.sub(r"^ *// ?", "", line) for line in text.splitlines()) for text, reason in found}


def test_every_reason_has_exactly_one_error_class() -> None:
    assert sorted(each.reason for each in CLASSES) == REASONS


def test_every_reason_has_exactly_one_row_in_the_status_table() -> None:
    assert sorted(CODES) == REASONS


@pytest.mark.parametrize("reason", REASONS)
def test_comment_of_a_reason_starts_with_its_code(reason: str) -> None:
    assert comments()[reason].startswith(f"{CODES[reason].name}. ")


@pytest.mark.parametrize("each", CLASSES, ids=lambda each: each.__name__)
def test_error_becomes_a_status_with_its_reason(each: type[DraftlineError]) -> None:
    status = status_of(each("why", key=7, none=None))
    info = error_details_pb2.ErrorInfo()
    assert (status.code, status.message) == (CODES[each.reason].value[0], "why")
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == (each.reason, "draftline", {"key": "7"})
    assert len(status.details) == (2 if each is OverloadedError else 1)


def test_overload_tells_when_to_come_again_and_not_all_at_once() -> None:
    delays_s = set()
    for _ in range(20):
        retry = error_details_pb2.RetryInfo()
        assert status_of(OverloadedError("why", retry_after_s=3.0)).details[1].Unpack(retry)
        delays_s.add(retry.retry_delay.ToMicroseconds() / 1e6)
    assert len(delays_s) > 1
    assert 1.5 <= min(delays_s) <= max(delays_s) <= 4.5


def test_error_of_a_part_names_the_part() -> None:
    error = InvalidFieldError.of("delta", "is wrong").within("requests[3]")
    assert error.message == "requests[3]: delta: is wrong"
    assert error.fields == (("requests[3].delta", "is wrong"),)


@pytest.mark.parametrize("char", ["x", "%", "ü", "語", "🎬", "\n"])
def test_largest_error_fits_into_the_trailers(char: str) -> None:
    long = char * 5000
    error = InvalidFieldError(long, fields=[(long, long)] * 50, one=long, two=long, three=long)
    status = status_of(error)
    percent_encoded = sum(1 if " " <= c <= "~" and c != "%" else 3 * len(c.encode()) for c in status.message)
    assert percent_encoded + status.ByteSize() * 4 / 3 < TRAILER_BYTES
    bad = error_details_pb2.BadRequest()
    status.details[1].Unpack(bad)
    assert bad.field_violations
    assert status.message.endswith("…")
    assert set(status.message[:-1]) == {char}


def test_short_error_is_sent_as_it_is() -> None:
    fields = [(f"field {n}", "ü" * 20) for n in range(10)]
    status = status_of(InvalidFieldError("ü" * 100, fields=fields))
    bad = error_details_pb2.BadRequest()
    status.details[1].Unpack(bad)
    assert status.message == "ü" * 100
    assert [(each.field, each.description) for each in bad.field_violations] == fields


def test_unexpected_error_tells_nothing_of_its_cause() -> None:
    error = internal_error(ValueError("secret"), "draftline.v1.ContentService.GetContent")
    status = status_of(error)
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "secret" not in str(status)
    assert error.metadata["incident_id"] in status.message


@pytest.mark.parametrize(
    ("sqlstate", "hint"), [("42501", "connect as the role that migrated"), ("XX001", "check"), ("23505", None)]
)
def test_unexpected_error_that_the_database_causes_is_logged_with_its_fix(sqlstate: str, hint: str | None) -> None:
    with logged() as events:
        internal_error(UnforeseenError(sqlstate, ""), "draftline.v1.ContentService.GetContent")
    (event,) = events
    assert event.get("sqlstate") == (sqlstate if hint else None)
    assert event.get("hint", "").startswith(hint or "")
    assert ("hint" in event) is (hint is not None)
