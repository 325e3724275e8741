"""Arguments that cannot be sent are rejected before the call, by an error that names them."""

from __future__ import annotations

import copy
import pickle
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import draftline
import pytest
from draftline import DraftEdit, Patch, op
from draftline.documents import decode, encode, numbers_as
from support.both_clients import Connect
from support.scripted_responses import found
from support.scripted_server import ScriptedServer

ADDRESS = "127.0.0.1:1"


class Genre(Enum):
    DRAMA = "Drama"
    YEAR = 1979
    DAY = date(1979, 5, 25)


WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "one operation": (lambda it: it.patch_content("m", "1", operations=op.add("/a", 1)), "operations must be a list"),
    "operation text": (lambda it: it.patch_content("m", "1", operations="add"), "operations must be a list"),
    "operations item": (lambda it: it.patch_content("m", "1", operations=["add"]), r"operations\[0\] must be a dict"),
    "draft operation": (lambda it: it.save_draft("m", "1", operations=op.remove("/a")), "operations must be a list"),
    "record id": (lambda it: it.patch_content("m", 1, {}), "record_id must be a string, not the int 1"),
    "read record id": (lambda it: it.get_content("m", 1), r"record_id must be a string, not the int 1: write str\("),
    "UUID": (lambda it: it.get_content("m", uuid.uuid4()), r"must be a string, not the UUID .*: write str\(value\)"),
    "record": (lambda it: it.get_content("m", DraftEdit("1")), "not the DraftEdit .*: write value.record_id"),
    "JSON": (lambda it: it.create_content("m", '{"a": 1}'), r"content must be a dict.*: write json.loads\(value\)"),
    "collection": (lambda it: it.get_content(None, "1"), "collection must be a string"),
    "delta": (lambda it: it.patch_content("m", "1", [1]), "content must be a dict|delta must be a dict"),
    "content": (lambda it: it.create_content("m", "text"), "content must be a dict"),
    "version": (lambda it: it.patch_content("m", "1", {}, expected_version="2"), "expected_version must be an integer"),
    "huge version": (
        lambda it: it.delete_content("m", "1", expected_version=2**70),
        "expected_version does not fit in 64 bits",
    ),
    "condition": (lambda it: it.patch_content("m", "1", {}, condition={"a": 1}), "condition must be a string"),
    "batch item": (lambda it: it.batch_patch_content("m", [{"record_id": "1"}]), r"patches\[0\] must be a Patch"),
    "batch record id": (
        lambda it: it.batch_patch_content("m", [Patch(7)]),
        r"patches\[0\]\.record_id must be a string",
    ),
    "edit item": (lambda it: it.save_drafts("m", [("1", {})]), r"edits\[0\] must be a DraftEdit"),
    "edit record id": (lambda it: it.save_drafts("m", [DraftEdit(1, {})]), r"edits\[0\]\.record_id must be a string"),
    "revert text": (lambda it: it.revert("x"), r"revert\(commit_id=\.\.\.\)"),
    "revert id": (lambda it: it.revert(7), "change must be a Change, or a tuple"),
    "revert commit": (lambda it: it.revert(commit_id=7), "commit_id must be a string"),
    "filter": (lambda it: it.get_merged_page("m", filter=1), "filter must be a string"),
    "page size": (lambda it: it.get_merged_page("m", page_size="5"), "page_size must be an integer"),
    "fields": (lambda it: it.get_content("m", "1", fields=[1]), r"fields\[0\] must be a string"),
    "timeout": (lambda it: it.get_content("m", "1", timeout="5"), "timeout must be a number of seconds"),
    "bytes": (lambda it: it.patch_content("m", "1", {"a": [b"x"]}), "at /a/0: bytes is not a JSON type.*base64"),
    "naive time": (lambda it: it.create_content("m", {"a": datetime(2026, 1, 2)}), "at /a: .* has no time zone"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_wrong_argument_is_answered_with_a_sentence(connect: Connect, case: str) -> None:
    call, message = WRONG[case]
    async with connect(ADDRESS, tenant_id="acme") as client:
        with pytest.raises((TypeError, ValueError), match=message):
            await call(client)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token": "abc\n"}, "newline at index 3.*strip"),
        ({"token": "a b"}, "space at index 1"),
        ({"token": ""}, "token is empty"),
        ({"token": "schlüssel"}, "printable ASCII"),
        ({"token": b"abc"}, "token must be a string or a function"),
        ({"timeout": "5"}, "timeout must be a number"),
        ({"retry": 3}, "retry must be a draftline.Retry"),
        ({"options": ["grpc.keepalive_time_ms"]}, r"options must be pairs such as \(\"grpc"),
        ({"options": 5}, "options must be pairs"),
        ({"credentials": True}, "grpc.ssl_channel_credentials"),
        ({"numbers": "float"}, 'must be "exact" or "decimal"'),
    ],
)
async def test_wrong_option_of_a_client_is_rejected(connect: Connect, options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        async with connect(ADDRESS, **options):
            pass
    assert "abc" not in str(caught.value)  # the token is not shown


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("http://127.0.0.1:50051", "such as 127.0.0.1:50051, without http://; for TLS, pass `credentials`"),
        ("grpc://127.0.0.1:7/", "such as 127.0.0.1:7, without grpc://"),
        ("127.0.0.1", "must be host:port"),
        ("", "must be host:port"),
        ("127.0.0.1:99999", "a port up to 65535"),
        ("127.0.0.1:0", "a port up to 65535"),
        ("host:port", "must be host:port"),
        ("127.0.0.1:50051\n", "must be host:port"),
        (" 127.0.0.1:50051", "must be host:port"),
        ("127.0.0.1:50051/", "must be host:port"),
        ("::1:50051", r"in brackets: \[::1\]:50051"),
    ],
)
async def test_wrong_address_is_rejected(connect: Connect, target: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        async with connect(target):
            pass


CLIENTS: Any = pytest.mark.parametrize("kind", [draftline.Client, draftline.AsyncClient])


@CLIENTS
@pytest.mark.parametrize(
    "target", ["[::1]:50051", "dns:///content.example.org", "unix:/run/d.sock", "dns:7", "ipv4:1.2.3.4:5,1.2.3.5:5"]
)
def test_address_of_grpc_is_passed_on(kind: Any, target: str) -> None:
    assert target in repr(kind(target))


@CLIENTS
def test_client_that_is_copied_or_pickled_says_to_create_one(kind: Any) -> None:
    client = kind(ADDRESS)
    for use in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="Client cannot be copied or pickled: create one in each process"):
            use(client)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_attempts": "3"}, "max_attempts must be an integer"),
        ({"max_attempts": 0}, "max_attempts must be at least 1"),
        ({"initial_backoff_s": None}, "initial_backoff_s must be a number of seconds"),
        ({"max_backoff_s": -1}, "max_backoff_s must be at least 0"),
        ({"initial_backoff_s": 5}, "initial_backoff_s must be at most max_backoff_s"),
        ({"wait_for_connection": "no"}, "wait_for_connection must be True or False"),
    ],
)
def test_wrong_retry_policy_is_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        draftline.Retry(**options)


async def test_newline_in_a_token_of_a_function_is_rejected_before_the_call(connect: Connect) -> None:
    async with connect(ADDRESS, tenant_id="acme", token=lambda: "abc\n") as client:
        with pytest.raises(ValueError, match="newline at index 3"):
            await client.get_content("m", "1")


def test_values_that_json_lacks_are_encoded_by_rule() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    odd = timezone(timedelta(minutes=1, seconds=30))
    value = {
        "utc": datetime(2026, 11, 20, 10, tzinfo=UTC),
        "east": datetime(2026, 11, 20, 10, 0, 0, 5, tzinfo=east),
        "odd": datetime(2026, 11, 20, 10, 1, 30, tzinfo=odd),
        "day": date(2026, 11, 20),
        "id": uuid.UUID(int=5),
        "genre": list(Genre),
    }
    assert decode(encode(value)) == {
        "utc": "2026-11-20T10:00:00Z",
        "east": "2026-11-20T10:00:00.000005+05:30",
        "odd": "2026-11-20T10:00:00Z",
        "day": "2026-11-20",
        "id": "00000000-0000-0000-0000-000000000005",
        "genre": ["Drama", 1979, "1979-05-25"],
    }


async def test_client_returns_decimals_where_it_is_asked_to(connect: Connect, scripted: ScriptedServer) -> None:
    scripted.answers["GetContent"] = found
    async with connect(scripted.address, tenant_id="acme", numbers="decimal") as client:
        got = (await client.get_content("m", "1")).content
    assert repr(got) == repr({"n": Decimal("0.1"), "big": Decimal("123456789012345678901234567890.5")})
    with numbers_as("decimal"):
        assert type(decode("0.1")) is Decimal
    assert type(decode("0.1")) is float


def test_version_is_that_of_the_distribution() -> None:
    assert draftline.__version__ == "0.1.0"
