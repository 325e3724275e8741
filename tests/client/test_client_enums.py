"""Enums of the client: strings are accepted, unknown numbers are kept, and an invalid string lists the valid ones."""

from __future__ import annotations

from enum import Enum
from typing import Any

import draftline
import pytest
from draftline.models.str_enum import StrEnum, member_of
from draftline.v1 import change_pb2, collection_pb2, content_pb2, draft_pb2, sync_pb2, types_pb2
from support.both_clients import Connect
from support.scripted_log import change
from support.scripted_responses import record
from support.scripted_server import ScriptedServer

ENUMS = [each for each in vars(draftline).values() if isinstance(each, type) and issubclass(each, StrEnum)]


def enum_of(name: str) -> Any:
    """Return the enum of the contract."""
    files = (types_pb2, content_pb2, collection_pb2, draft_pb2, change_pb2, sync_pb2)
    return next(getattr(file, name) for file in files if hasattr(file, name))


def test_every_enum_is_a_string_enum() -> None:
    enums = [each for each in vars(draftline).values() if isinstance(each, type) and issubclass(each, Enum)]
    assert {each.__name__ for each in enums} - {each.__name__ for each in ENUMS} == {"Unset"}
    assert len(ENUMS) >= 10


@pytest.mark.parametrize("kind", ENUMS, ids=lambda each: each.__name__)
def test_member_equals_its_string(kind: Any) -> None:
    for each in kind:
        assert (each, f"{each}", str(each), kind(each.value)) == (each.value, each.value, each.value, each)


@pytest.mark.parametrize(("kind", "enum"), [(each, enum_of(each.__name__)) for each in ENUMS])
def test_every_number_of_the_contract_has_a_member(kind: Any, enum: Any) -> None:
    numbers = set(enum.values()) - {0}
    assert {member_of(kind, enum, number) for number in numbers} == set(kind)


async def test_unknown_numbers_of_a_newer_service_are_kept(connect: Connect, scripted: ScriptedServer) -> None:
    changes = [change(1, kind=77, source=88)]
    scripted.answers["ListChanges"] = lambda _: change_pb2.ListChangesResponse(changes=changes)
    merged = draft_pb2.MergedRecord(record=record(), state=99, draft_kind=98, conflicts=[draft_pb2.Conflict(kind=97)])
    scripted.answers["GetMerged"] = lambda _: draft_pb2.GetMergedResponse(records=[merged])
    async with connect(scripted.address, tenant_id="acme") as client:
        (told,) = [each async for each in client.changes("movies", "m-1")]
        (seen,) = [each async for each in client.get_merged("movies")]
    assert (told.kind, f"{told.source}", repr(told.kind)) == (
        "unknown_77",
        "unknown_88",
        "<ChangeKind.UNKNOWN_77: 'unknown_77'>",
    )
    assert (seen.state, seen.draft_kind, seen.conflicts[0].kind) == ("unknown_99", "unknown_98", "unknown_97")
    assert seen.state not in set(draftline.RecordState)
    assert isinstance(seen.state, draftline.RecordState)


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        ({"strategy": "depe"}, "'depe' is not a MergeStrategy; use one of 'shallow', 'deep', 'merge_patch', 'replace'"),
        ({"strategy": 3}, "3 is not a MergeStrategy; use one of 'shallow', 'deep', 'merge_patch', 'replace'"),
    ],
)
def test_invalid_string_lists_the_valid_ones(refused: dict[str, Any], told: str) -> None:
    with draftline.Client("127.0.0.1:1", tenant_id="acme") as client, pytest.raises(ValueError, match=told):
        client.patch_content("movies", "m-1", {}, **refused)
