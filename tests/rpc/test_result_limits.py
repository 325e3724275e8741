"""The limits of what is sent hold for what comes of it, by every call that writes: what is stored can be sent again."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from draftline.v1 import content_pb2, draft_pb2, types_pb2
from support.change_calls import Changes
from support.draft_calls import Drafts, edit
from support.responses import INVALID, TIMEOUT_S, Records, content_of, refusal_in, refused, steps

HALF = {"a": [0] * 4_990}  # with the root and the array 4,992 values of the 10,000
OTHER = {"b": [[]] * 5_010}
NINES = "9" * 1000  # the longest integer
COUNT = "the merged content must have at most 10000 values"
DIGITS = "the merged content's numbers must have at most 1000 digits before and after the point"
DEEP, MERGE_PATCH = types_pb2.MERGE_STRATEGY_DEEP, types_pb2.MERGE_STRATEGY_MERGE_PATCH


def increment(value: Any) -> types_pb2.OperationList:
    operations = types_pb2.OperationList()
    operations.operations.add(op="increment", path="/n").value.json = str(value)
    return operations


def insert(count: int) -> types_pb2.OperationList:
    return steps(*[{"op": "add", "path": "/a/-", "value": [[]] * (count // 10 - 1)}] * 10)


OVER: dict[str, tuple[Any, dict[str, Any], str, str]] = {
    "values by SHALLOW": (HALF, {"delta": OTHER}, "delta", COUNT),
    "values by DEEP": (HALF, {"delta": OTHER, "strategy": DEEP}, "delta", COUNT),
    "values by MERGE_PATCH": (HALF, {"delta": OTHER, "strategy": MERGE_PATCH}, "delta", COUNT),
    "values by operations": (HALF, {"operations": insert(5_020)}, "operations", COUNT),
    "values by copies": (
        {"a": [[]] * 4_000},
        {"operations": steps(*({"op": "copy", "from": "/a", "path": f"/b{n}"} for n in range(2)))},
        "operations",
        COUNT,
    ),
    "values by union": (
        {"a": [0] * 9_950},
        {"operations": steps({"op": "union", "path": "/b", "value": [*range(60)]})},
        "operations",
        COUNT,
    ),
    "digits": (f'{{"n": {NINES}}}', {"operations": increment(1)}, "operations", DIGITS),
    "negative digits": (f'{{"n": -{NINES}}}', {"operations": increment(-1)}, "operations", DIGITS),
    "digits of a decimal": (f'{{"n": {NINES}.5}}', {"operations": increment("0.5")}, "operations", DIGITS),
}  # fmt: skip


@pytest.mark.parametrize("name", OVER)
@pytest.mark.parametrize("is_batch", [False, True])
def test_patch_whose_result_is_over_a_limit_is_refused(patched: Records, name: str, is_batch: bool) -> None:
    content, options, field, problem = OVER[name]
    patched.create("m-1", content)
    request = patched.patching("m-1", **options)
    if is_batch:
        batch = content_pb2.BatchPatchContentRequest(
            tenant_id=patched.tenant_id, requests=[request], allow_partial=True
        )
        (result,) = patched.stub.BatchPatchContent(batch, timeout=TIMEOUT_S).results
        refusal, field = refusal_in(result.status), f"requests[0].{field}"
    else:
        refusal = refused(patched.stub.PatchContent, request)
    assert (refusal.code, refusal.fields) == (INVALID, {field: problem})
    assert refusal.reason == ("DOCUMENT_TOO_LARGE" if problem == COUNT else "INVALID_DOCUMENT")
    assert patched.get("m-1").version == 1


@pytest.mark.parametrize("name", [name for name in OVER if name != "values by copies"])
def test_draft_whose_merge_is_over_a_limit_is_refused(records: Records, ada: Drafts, name: str) -> None:
    content, options, field, problem = OVER[name]
    records.create("m-1", content)
    refusal = ada.refused("SaveDraft", ada.saving(edit("m-1", **options)))
    assert (refusal.code, refusal.fields) == (INVALID, {f"edits[0].{field}": problem})


def test_largest_result_can_be_stored_and_sent_again(patched: Records) -> None:
    patched.create("m-1", {**HALF, "n": 0})
    rest = {"b": [0] * 5_006}
    patched.patch("m-1", rest)
    stored = patched.get("m-1").content.json
    assert json.loads(stored) == {**HALF, **rest, "n": 0}
    assert patched.patch("m-1", stored, strategy=types_pb2.MERGE_STRATEGY_REPLACE).record.version == 2
    patched.patch("m-1", operations=increment("9" * 999 + "8"))
    patched.patch("m-1", operations=increment(1))
    again = patched.get("m-1").content.json
    assert patched.patch("m-1", again, strategy=types_pb2.MERGE_STRATEGY_REPLACE).record.version == 4
    refusal = refused(patched.stub.PatchContent, patched.patching("m-1", {"one more": 0}))
    assert refusal.fields == {"delta": COUNT}


def test_many_small_patches_stop_at_the_limit(patched: Records) -> None:
    patched.create("m-1", {"a": {str(n): [[]] * 98 for n in range(100)}, "b": [0] * 92})  # 9,995 values
    for n in range(5):
        patched.patch("m-1", {f"k{n}": 1})
    assert refused(patched.stub.PatchContent, patched.patching("m-1", {"k5": 1})).fields == {"delta": COUNT}
    assert patched.patch("m-1", {"k4": 2}).record.version == 7


@pytest.mark.parametrize("policy", [draft_pb2.CONFLICT_POLICY_REJECT, draft_pb2.CONFLICT_POLICY_KEEP_MINE])
def test_commit_whose_result_is_over_a_limit_is_refused(records: Records, ada: Drafts, policy: Any) -> None:
    records.create("m-1", {})
    ada.change("m-1", HALF)
    records.patch("m-1", OTHER)
    refusal = ada.refused("Commit", ada.committing(all=True, conflict_policy=policy))
    assert (refusal.code, refusal.reason) == (INVALID, "DOCUMENT_TOO_LARGE")
    assert COUNT in refusal.message
    assert records.content("m-1") == OTHER


def test_revert_whose_result_is_over_a_limit_is_refused(
    records: Records, grpc_channel: grpc.Channel, tenant_id: str
) -> None:
    changes = Changes(grpc_channel, tenant_id)
    records.create("m-1", HALF)
    records.patch("m-1", operations=steps({"op": "remove", "path": "/a"}))
    records.patch("m-1", OTHER)
    refusal = changes.refused("RevertChange", changes.reverting(("m-1", 2)))
    assert (refusal.code, refusal.reason) == (INVALID, "DOCUMENT_TOO_LARGE")
    assert records.content("m-1") == OTHER


def test_upsert_and_creation_over_a_deleted_record_keep_the_limits(patched: Records) -> None:
    patched.create("m-1", {})
    patched.delete("m-1")
    copies = steps({"op": "add", "path": "/a", "value": [0] * 5_000}, {"op": "copy", "from": "/a", "path": "/b"})
    upsert = patched.patching("m-1", operations=copies, allow_missing=True, allow_deleted=True)
    assert refused(patched.stub.PatchContent, upsert).fields == {"operations": COUNT}
    assert content_of(patched.get("m-1", show_deleted=True)) == {}
