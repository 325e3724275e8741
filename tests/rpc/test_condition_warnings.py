"""Names in the condition of a write that a collection does not have are reported, where it holds and where it fails."""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import draftline
import pytest
from draftline import Patch
from draftline_server.domain.errors import DatabaseUnavailableError
from draftline_server.store.driver_errors import UnforeseenError
from draftline_server.store.lists.field_names import FieldNames
from support.server_process import invoked

HINT = "no field onwer is declared.*did you mean owner"


@pytest.fixture
def client(server_address: str) -> Iterator[draftline.Client]:
    with draftline.Client(server_address, tenant_id=f"tenant-{uuid.uuid4()}", user="ada") as connected:
        connected.create_content("films", {"owner": "ada"}, record_id="1")
        yield connected


def test_failed_condition_names_the_field_that_is_unknown(client: draftline.Client) -> None:
    wrong = {"condition": 'onwer = "ada"'}
    with pytest.raises(draftline.ConditionNotMetError, match=HINT) as caught:
        client.patch_content("films", "1", {"n": 1}, **wrong)
    assert [each.field for each in caught.value.field_violations] == ["condition"]
    with pytest.raises(draftline.ConditionNotMetError, match=HINT):
        client.delete_content("films", "1", **wrong)
    with pytest.raises(draftline.ConditionNotMetError, match=HINT) as caught:
        client.batch_patch_content("films", [Patch("2", {"n": 1}, allow_missing=True), Patch("1", {"n": 1}, **wrong)])
    assert [each.field for each in caught.value.field_violations] == ["requests[1].condition"]
    with pytest.raises(draftline.ConditionNotMetError, match=r"does not satisfy the condition$"):
        client.patch_content("films", "1", {"n": 1}, condition='owner = "bob"')


def test_condition_that_holds_is_reported_with_the_result(client: draftline.Client) -> None:
    wrong = {"condition": 'NOT onwer = "bob"'}
    with pytest.warns(draftline.UnknownFieldWarning, match=f"condition: {HINT}"):
        patched = client.patch_content("films", "1", {"n": 1}, **wrong)
    (warning,) = patched.warnings
    assert (warning.argument, warning.name, warning.suggestion) == ("condition", "onwer", "owner")
    patches = [Patch("1", {"n": 2}), Patch("2", {"n": 2}, allow_missing=True, **wrong)]
    client.create_content("films", {"owner": "bob"}, record_id="3")
    patches.append(Patch("3", {"n": 2}, condition='onwer = "bob"'))
    with pytest.warns(draftline.UnknownFieldWarning, match=HINT):
        results = client.batch_patch_content("films", patches, allow_partial=True)
    assert [[each.name for each in result.warnings] for result in results] == [[], ["onwer"], ["onwer"]]
    with pytest.warns(draftline.UnknownFieldWarning, match=HINT), client.bulk_writer() as writer:
        future = writer.patch("films", "1", {"n": 3}, **wrong)
    assert [each.name for each in future.result().warnings] == ["onwer"]
    with pytest.warns(draftline.UnknownFieldWarning, match=HINT):
        client.delete_content("films", "1", **wrong)


def test_repeated_call_gets_the_same_warnings(client: draftline.Client) -> None:
    call: dict[str, Any] = {"condition": 'NOT onwer = "bob"', "request_id": str(uuid.uuid4())}
    with pytest.warns(draftline.UnknownFieldWarning):
        first = client.patch_content("films", "1", {"n": 1}, **call)
    with pytest.warns(draftline.UnknownFieldWarning):
        assert client.patch_content("films", "1", {"n": 1}, **call) == first


def test_known_fields_and_those_of_the_record_are_not_reported(client: draftline.Client) -> None:
    client.import_content("films", [(f"a{n:04}", {"owner": "ada"}) for n in range(250)])
    client.create_content("films", {"rare": 1}, record_id="z")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client.patch_content("films", "z", {"n": 1}, condition='rare = 1 AND record.version > 0 AND NOT owner = "x"')
        client.patch_content("notes", "1", {"n": 1}, allow_missing=True)
        client.patch_content("notes", "1", {"n": 2}, condition="n = 1")


@pytest.mark.parametrize(
    "error", [DatabaseUnavailableError("the database is unreachable"), UnforeseenError("22023", "")]
)
def test_write_that_is_done_does_not_fail_with_its_warnings(
    client: draftline.Client, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fails(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(FieldNames, "unknown", fails)
    with pytest.raises(draftline.ConditionNotMetError):
        client.patch_content("films", "1", {"n": 1}, condition='onwer = "bob"')
    patched = client.patch_content("films", "1", {"n": 1}, condition='NOT onwer = "bob"')
    assert (patched.record.version, patched.warnings) == (2, ())


def test_command_prints_warnings_with_their_lines(
    client: draftline.Client, server_address: str, tmp_path: Path
) -> None:
    lines = [{"record_id": "1", "delta": {"n": n}, "condition": 'NOT onwer = "bob"'} for n in (1, 2)]
    lines.append({"record_id": "1", "delta": {"n": 3}, "condition": 'onwer = "bob"'})
    file = tmp_path / "patches.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = ["--tenant", client._tenant(None), "--address", server_address]
    done = invoked("patch", str(file), "--collection", "films", *own)
    assert done.returncode == 1
    assert done.stderr.count("Warning: line 1: condition: no field onwer") == 1
    assert done.stderr.count("Warning") == 1
    assert done.stderr.count("did you mean owner?") == 2  # the third line fails, and its error says so


def test_invalid_condition_fails_its_patch_of_a_partial_batch_alone(client: draftline.Client) -> None:
    client.create_content("films", {"owner": "ada"}, record_id="2")
    patches = [Patch("1", {"n": 1}, condition="onwer ="), Patch("2", {"n": 2}, condition='owner = "ada"')]
    invalid, done = client.batch_patch_content("films", patches, allow_partial=True)
    assert isinstance(invalid.error, draftline.InvalidArgumentError)
    assert done.error is None
    assert client.get_content("films", "2").content["n"] == 2
