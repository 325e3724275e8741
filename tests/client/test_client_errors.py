"""Conversion of a status, of the service or of a proxy, to the raised error."""

from __future__ import annotations

import pickle
from typing import Any

import draftline
import grpc
import pytest
from draftline._core import error_classes
from draftline._core.status import error_of_call, error_of_status
from draftline.v1 import error_reason_pb2, types_pb2
from google.rpc import error_details_pb2
from support.scripted_server import STATUS_TRAILER, failure, info


class Failed(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, details: str | None, trailer: bytes | None = None) -> None:
        self._parts = (code, details, trailer)

    def code(self) -> grpc.StatusCode:
        return self._parts[0]

    def details(self) -> str | None:
        return self._parts[1]

    def trailing_metadata(self) -> Any:
        return None if self._parts[2] is None else (("other", "x"), (STATUS_TRAILER, self._parts[2]))


def error_of(code: grpc.StatusCode, *details: object) -> draftline.DraftlineError:
    status = failure(code.value[0], "sorry", *details)
    return error_of_call(Failed(code, "sorry", status.SerializeToString()))


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_has_its_error(code: grpc.StatusCode) -> None:
    error = error_of_call(Failed(code, "sorry"))
    assert type(error) is error_classes.BY_CODE.get(code, draftline.DraftlineError)
    assert (error.code, error.message, error.reason, error.metadata) == (code, "sorry", "", {})


def test_every_reason_with_a_class_of_its_own_is_in_the_catalogue() -> None:
    names = {each.name.removeprefix("ERROR_REASON_") for each in error_reason_pb2.ErrorReason.DESCRIPTOR.values}
    assert set(error_classes.BY_REASON) <= names


def test_every_error_is_exported() -> None:
    mapped = {*error_classes.BY_CODE.values(), *error_classes.BY_REASON.values()}
    assert {each.__name__ for each in mapped} <= set(draftline.__all__)


def test_stale_version_has_the_current_one() -> None:
    error = error_of(grpc.StatusCode.ABORTED, info("VERSION_MISMATCH", current_version="7"))
    assert isinstance(error, draftline.VersionMismatchError)
    assert isinstance(error, draftline.AbortedError)
    assert error.current_version == 7
    assert str(error) == "ABORTED/VERSION_MISMATCH: sorry"


def test_failed_test_operation_has_its_index_and_path() -> None:
    error = error_of(grpc.StatusCode.FAILED_PRECONDITION, info("TEST_FAILED", operation="2", path="/a"))
    assert isinstance(error, draftline.OperationTestFailedError)
    assert (error.operation, error.path) == (2, "/a")


def test_unmet_condition_is_a_failed_precondition() -> None:
    error = error_of(grpc.StatusCode.FAILED_PRECONDITION, info("CONDITION_NOT_MET"))
    assert isinstance(error, draftline.ConditionNotMetError)
    assert isinstance(error, draftline.FailedPreconditionError)


def test_internal_error_has_the_incident_id() -> None:
    error = error_of(grpc.StatusCode.INTERNAL, info("INTERNAL", incident_id="i-1"))
    assert isinstance(error, draftline.InternalError)
    assert error.incident_id == "i-1"
    assert draftline.InternalError(grpc.StatusCode.INTERNAL, "").incident_id == ""


def test_bad_request_lists_its_fields() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="record_id", description="too long")
    error = error_of(
        grpc.StatusCode.INVALID_ARGUMENT,
        info("INVALID_FIELD"),
        error_details_pb2.BadRequest(field_violations=[violation]),
    )
    assert isinstance(error, draftline.InvalidArgumentError)
    assert error.field_violations == (draftline.FieldViolation("record_id", "too long"),)
    assert str(error) == "INVALID_ARGUMENT/INVALID_FIELD: sorry (record_id: too long)"


def test_field_that_the_message_names_appears_once() -> None:
    field = draftline.FieldViolation("record_id", "too long")
    error = draftline.InvalidArgumentError(grpc.StatusCode.INVALID_ARGUMENT, "record_id: too long", "", {}, [field])
    assert str(error) == "INVALID_ARGUMENT: record_id: too long"


def test_unknown_reason_keeps_the_error_of_its_code() -> None:
    error = error_of(grpc.StatusCode.NOT_FOUND, info("SOMETHING_NEW", a="b"))
    assert type(error) is draftline.NotFoundError
    assert (error.reason, error.metadata) == ("SOMETHING_NEW", {"a": "b"})


def test_reason_that_contradicts_the_code_does_not_choose_the_class() -> None:
    assert type(error_of(grpc.StatusCode.UNAVAILABLE, info("VERSION_MISMATCH"))) is draftline.UnavailableError


def test_reason_of_another_domain_and_unknown_details_are_ignored() -> None:
    error = error_of(
        grpc.StatusCode.ABORTED,
        error_details_pb2.RetryInfo(),
        info("VERSION_MISMATCH", domain="elsewhere.example"),
    )
    assert type(error) is draftline.AbortedError
    assert error.reason == ""


def test_trailer_that_does_not_decode_is_ignored() -> None:
    error = error_of_call(Failed(grpc.StatusCode.NOT_FOUND, None, b"\xff\xff\xff"))
    assert type(error) is draftline.NotFoundError
    assert error.message == ""


def test_detail_that_does_not_decode_is_ignored() -> None:
    status = failure(5, "sorry", info("RECORD_NOT_FOUND"))
    status.details[0].value = b"\xff\xff\xff"
    error = error_of_call(Failed(grpc.StatusCode.NOT_FOUND, "sorry", status.SerializeToString()))
    assert (type(error), error.reason) == (draftline.NotFoundError, "")


def test_batch_status_is_the_same_on_the_wire() -> None:
    sent = failure(10, "stale", info("VERSION_MISMATCH", current_version="3"))
    error = error_of_status(types_pb2.Status.FromString(sent.SerializeToString()))
    assert isinstance(error, draftline.VersionMismatchError)
    assert (error.code, error.message, error.current_version) == (grpc.StatusCode.ABORTED, "stale", 3)


def test_batch_status_with_an_unknown_code_is_unknown() -> None:
    assert error_of_status(types_pb2.Status(code=99)).code is grpc.StatusCode.UNKNOWN


def test_error_survives_pickling() -> None:
    error = error_of(grpc.StatusCode.ABORTED, info("VERSION_MISMATCH", current_version="7"))
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.current_version) == (type(error), str(error), 7)


def test_batch_result_unwraps_to_its_result_or_raises_its_error() -> None:
    error = error_of(grpc.StatusCode.NOT_FOUND)
    with pytest.raises(draftline.NotFoundError):
        draftline.BatchResult(error=error).unwrap()
