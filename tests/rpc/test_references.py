"""The integrity of references over a real channel: refusals, reports of older references, and statements."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from click.testing import CliRunner
from draftline import (
    AsyncClient,
    DanglingReferences,
    DeclaredRelation,
    FailedPreconditionError,
    IndexState,
    Patch,
    RecordReferencedError,
    ReferenceNotFoundError,
)
from draftline_server.cli import main
from support.sent_statements import sent

DIRECTOR = DeclaredRelation("director", "/director", "people", integrity="check")


@pytest.fixture
async def client(server_address: str, tenant_id: str) -> AsyncIterator[AsyncClient]:
    """A client of a tenant whose films are checked to name people."""
    async with AsyncClient(server_address, tenant_id=tenant_id, user="ada") as opened:
        await opened.import_content("people", {"scott": {}, "cameron": {}}.items())
        await opened.import_content("films", {"alien": {"director": "scott"}, "aliens": {"director": "none"}}.items())
        yield opened


async def refusal(call: Awaitable[object]) -> tuple[str, dict[str, str]]:
    """Return the reason and the metadata with which a call is refused."""
    with pytest.raises(FailedPreconditionError) as caught:
        await call
    return caught.value.reason, {name: value for name, value in caught.value.metadata.items() if name != "record_index"}


async def test_writes_that_would_leave_an_id_without_a_record_are_refused(client: AsyncClient) -> None:
    put = await client.put_collection("films", relations=[DIRECTOR])
    assert put.relations[0].relation == DIRECTOR
    assert put.relations[0].state is IndexState.READY
    assert put.relations[0].dangling == DanglingReferences(1, ("aliens",))
    missing = ("REFERENCE_NOT_FOUND", {
        "collection": "films", "record_id": "alien", "relation": "director", "path": "/director",
        "related_collection": "people", "related_id": "gone",
    })  # fmt: skip
    wrong = {"director": "gone"}
    assert await refusal(client.patch_content("films", "alien", wrong)) == missing
    assert await refusal(client.patch_content("films", "alien", wrong, validate_only=True)) == missing
    assert await refusal(client.batch_patch_content("films", [Patch("alien", wrong)])) == missing
    assert await refusal(client.import_content("films", {"alien": wrong}.items())) == missing
    assert (await refusal(client.create_content("films", wrong, record_id="new")))[1]["record_id"] == "new"
    await client.save_draft("films", "alien", wrong)
    assert await refusal(client.commit("films", all=True)) == missing
    (result,) = await client.commit("films", all=True, allow_partial=True)
    assert isinstance(result.error, ReferenceNotFoundError)
    named = ("RECORD_REFERENCED", {
        "collection": "people", "record_id": "scott", "relation": "director", "referring_collection": "films",
        "referring_ids": '["alien"]',
    })  # fmt: skip
    assert await refusal(client.delete_content("people", "scott")) == named
    assert await refusal(client.import_content("people", {"cameron": {}}.items(), mode="snapshot")) == named
    with pytest.raises(RecordReferencedError) as caught:
        await client.delete_content("people", "scott")
    assert caught.value.referring_ids == ["alien"]
    await client.batch_patch_content("films", [Patch("alien", {"director": "cameron"})])
    await client.delete_content("people", "scott")
    assert (await client.get_collection("films")).relations[0].dangling is None
    await client.patch_content("films", "aliens", {"director": "cameron"})
    found = await client.get_collection("films", include_dangling=True)
    assert found.relations[0].dangling == DanglingReferences(0, ())


async def test_stream_of_patches_checks_each(client: AsyncClient) -> None:
    await client.put_collection("films", relations=[DIRECTOR])
    failures: list[Any] = []
    async with client.bulk_writer(on_error=failures.append) as writer:
        for record_id, director in (("alien", "cameron"), ("aliens", "gone")):
            await writer.patch("films", record_id, {"director": director})
        await writer.flush()
        await writer.delete("people", "cameron")
    assert (await client.get_content("films", "alien")).content["director"] == "cameron"
    assert (await client.get_content("films", "aliens")).content["director"] == "none"
    assert [type(each.error) for each in failures] == [ReferenceNotFoundError, RecordReferencedError]


@pytest.mark.parametrize("is_checked", [False, True], ids=["unchecked", "checked"])
async def test_only_writes_that_touch_a_checked_relation_send_more_statements(
    client: AsyncClient, server: Any, is_checked: bool
) -> None:
    if is_checked:
        await client.put_collection("films", relations=[DIRECTOR])
    await client.patch_content("films", "alien", {"n": 1})  # the spec is known from now on
    with server.statements_of_calls() as seen:
        await client.patch_content("films", "alien", {"n": 2})
        await client.create_content("films", {"n": 1}, record_id="new")
        await client.delete_content("films", "new")
    assert sent(seen) == ["patch_content", "create_content", "delete_content"]
    with server.statements_of_calls() as seen:
        await client.patch_content("films", "alien", {"director": "cameron"})
    checks = ["BEGIN;", "lock_named", "patch_content", "lock_references", "missing_records", "COMMIT;"]
    assert sent(seen) == (checks if is_checked else ["patch_content"])


async def test_commands_declare_the_check_and_show_references_without_a_record(
    client: AsyncClient, server: Any, tenant_id: str
) -> None:
    def run(*arguments: str) -> str:
        where = ("--address", server.address, "--tenant", tenant_id)
        return CliRunner().invoke(main, ["collections", *arguments, *where]).stdout

    shown = await asyncio.to_thread(run, "put", "films", "--relation", "director=/director:people::check")
    assert "Relation 'director' from /director to people, checked: ready." in shown
    shown = await asyncio.to_thread(run, "show", "films")
    assert "ready. 1 references have no record, for example those of aliens." in shown
    spec = json.loads(await asyncio.to_thread(run, "show", "films", "--json"))
    assert spec["relations"] == [{
        "name": "director", "field": "/director", "collection": "people", "inverse": "", "integrity": "check",
        "state": "ready", "dangling": {"count": 1, "record_ids": ["aliens"]},
    }]  # fmt: skip
    assert (await client.get_collection("films")).relations[0].relation == DIRECTOR


async def test_list_command_prints_related_records_below_theirs(
    client: AsyncClient, server: Any, tenant_id: str
) -> None:
    await client.import_content("companies", {"fox": {"country": "US"}}.items())
    await client.patch_content("people", "scott", {"company": "fox"})
    await client.put_collection("people", relations=[DeclaredRelation("company", "/company", "companies")])
    await client.put_collection("films", relations=[DIRECTOR])

    def run(*arguments: str) -> str:
        where = ("--address", server.address, "--tenant", tenant_id, "--expand", "director.company")
        return CliRunner().invoke(main, ["list", "films", *where, *arguments]).stdout

    alien, aliens = map(json.loads, (await asyncio.to_thread(run, "--json")).splitlines())
    (scott,) = alien["related"]["director"]
    assert (scott["record_id"], scott["related"]["company"][0]["content"]) == ("scott", {"country": "US"})
    assert (aliens["related"], aliens["has_more"]) == ({"director": []}, [])
    table = await asyncio.to_thread(run)
    rows = [line.split("│")[1].rstrip() for line in table.splitlines() if line.startswith("│")]
    assert rows == [" alien", "   director: scott", "     company: fox", " aliens"]
    (scott,) = json.loads((await asyncio.to_thread(run, "--json", "--related-field", "country")).splitlines()[0])[
        "related"
    ]["director"]
    assert (scott["content"], scott["related"]["company"][0]["content"]) == ({}, {"country": "US"})


async def test_list_command_names_the_path_that_is_no_relation(
    client: AsyncClient, server: Any, tenant_id: str
) -> None:
    where = ("--address", server.address, "--tenant", tenant_id, "--expand", "none")
    result = await asyncio.to_thread(CliRunner().invoke, main, ["list", "films", *where])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "expand[0]: collection 'films' has no relation 'none'" in result.stderr


async def test_list_command_ends_circles_at_the_length_of_the_path(
    client: AsyncClient, server: Any, tenant_id: str
) -> None:
    await client.import_content("films", {"alien": {"next": "aliens"}, "aliens": {"next": "alien"}}.items())
    await client.put_collection("films", relations=[DeclaredRelation("next", "/next", "films")])
    where = ("--address", server.address, "--tenant", tenant_id, "--expand", "next.next", "--json")
    result = await asyncio.to_thread(CliRunner().invoke, main, ["list", "films", *where])
    alien = json.loads(result.stdout.splitlines()[0])
    (again,) = alien["related"]["next"][0]["related"]["next"]
    assert (again["record_id"], "related" in again) == ("alien", False)
