"""Several records: read at one moment, and patched or deleted by a filter."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import draftline
import pytest
from draftline import Patch, op
from draftline._core.matching import BATCH_RECORDS
from support.server_process import invoked

FILMS = [(f"m-{n:04}", {"n": n, "genre": "drama" if n % 2 else "horror"}) for n in range(1_100)]


@pytest.fixture
async def films(client: Any) -> Any:
    await client.import_content("films", FILMS)
    return client


async def test_batch_get_returns_records_by_their_ids(client: Any) -> None:
    await client.import_content("films", FILMS[:3])
    await client.delete_content("films", "m-0002")
    found = await client.batch_get_content("films", ["m-0001", "m-0000"], fields=["n"])
    assert [(record_id, each.content) for record_id, each in found.items()] == [
        ("m-0001", {"n": 1}),
        ("m-0000", {"n": 0}),
    ]
    several = ["m-0002", "none", "m-0001"]
    assert list(await client.batch_get_content("films", several, allow_missing=True)) == ["m-0001"]
    shown = await client.batch_get_content("films", several, allow_missing=True, show_deleted=True)
    assert list(shown) == ["m-0002", "m-0001"]
    for missing, reason in (("m-0002", "RECORD_DELETED"), ("none", "RECORD_NOT_FOUND")):
        with pytest.raises(draftline.NotFoundError) as caught:
            await client.batch_get_content("films", ["m-0001", missing])
        assert caught.value.reason == reason
    with pytest.raises(draftline.InvalidArgumentError, match="duplicate") as twice:
        await client.batch_get_content("films", ["m-0001", "m-0000", "m-0001"])
    assert twice.value.field_violations[0].field == "record_ids[2]"


async def test_batch_get_sees_each_batch_whole_or_not_at_all(client: Any) -> None:
    ids = [record_id for record_id, _ in FILMS[:100]]
    await client.import_content("films", FILMS[:100])
    await client.batch_patch_content("films", [Patch(each, {"n": 0}) for each in ids])

    async def write(number: int) -> None:
        await client.batch_patch_content("films", [Patch(each, {"n": number}) for each in ids])

    for number in range(1, 11):
        writing = asyncio.ensure_future(write(number))
        while not writing.done():
            found = await client.batch_get_content("films", ids, fields=["n"])
            assert {each.content["n"] for each in found.values()} in ({number - 1}, {number})
        await writing


async def test_batch_get_of_more_than_a_response_holds_is_rejected(client: Any) -> None:
    await client.import_content("films", [(str(n), {"text": "x" * 900_000, "n": n}) for n in range(20)])
    with pytest.raises(draftline.InvalidArgumentError) as caught:
        await client.batch_get_content("films", [str(n) for n in range(5)])
    assert caught.value.reason == "ANSWER_TOO_LARGE"
    some = await client.batch_get_content("films", [str(n) for n in range(15)], fields=["n"])
    assert [each.content for each in some.values()] == [{"n": n} for n in range(15)]
    with pytest.raises(draftline.InvalidArgumentError, match="request fewer of them"):  # of what is read
        await client.batch_get_content("films", [str(n) for n in range(20)], fields=["n"])


async def test_patch_matching_patches_each_record_that_matches(films: Any) -> None:
    changes = {"delta": {"genre": "thriller"}, "filter": 'genre in ("horror", "none")'}
    preview = await films.patch_matching("films", **changes, validate_only=True)
    assert (preview.matched_count, preview.changed_count, len(preview.commit_ids)) == (550, 550, 0)
    assert (await films.get_content("films", "m-0000")).content == {"n": 0, "genre": "horror"}
    done = await films.patch_matching("films", **changes, change_reason="renamed")
    assert (done.matched_count, done.changed_count, done.skipped_count, done.failures) == (550, 550, 0, ())
    assert len(done.commit_ids) == -(-550 // BATCH_RECORDS)
    left = await films.get_merged_page("films", filter='genre = "horror"', include_total_size=True)
    assert left.total_size == 0
    await films.revert(commit_id=done.commit_ids[0])
    back = await films.get_merged_page("films", filter='genre = "horror"', include_total_size=True)
    assert back.total_size == BATCH_RECORDS


async def test_patch_matching_counts_what_it_leaves_and_what_fails(client: Any) -> None:
    await client.import_content("films", FILMS[:4])
    await client.patch_content("films", "m-0003", {"n": "text"})
    again = await client.patch_matching("films", 'genre = "drama"', {"genre": "drama"})
    assert (again.changed_count, again.unchanged_count) == (0, 2)
    counted = await client.patch_matching("films", 'genre = "drama"', operations=iter([op.increment("/n")]))
    assert (counted.changed_count, [each.record_id for each in counted.failures]) == (1, ["m-0003"])
    assert isinstance(counted.failures[0].error, draftline.InvalidArgumentError)


async def test_delete_matching_deletes_each_record_that_matches(films: Any) -> None:
    left = len(FILMS)
    for condition, count in (('genre in ("drama", "none") AND n in (1, 2, 703)', 2), ("n < 700", 699)):
        preview = await films.delete_matching("films", condition, validate_only=True)
        assert (preview.matched_count, preview.changed_count) == (count, 0)
        with pytest.raises(ValueError, match="which is more than max_records"):
            await films.delete_matching("films", condition, max_records=count - 1)
        assert (await films.get_merged_page("films", include_total_size=True)).total_size == left
        done = await films.delete_matching("films", condition, max_records=count)
        assert (done.changed_count, done.skipped_count, done.failures) == (count, 0, ())
        left -= count
        assert (await films.get_merged_page("films", include_total_size=True)).total_size == left


async def test_record_that_no_longer_matches_is_skipped(server_address: str) -> None:
    class Interrupted(draftline.AsyncClient):
        """A client that sees the records change after their ids were read."""

        pages = 0

        async def get_merged_page(self, *arguments: Any, **options: Any) -> draftline.MergedPage:
            page = await super().get_merged_page(*arguments, **options)
            self.pages += 1
            if self.pages == 2:
                await self.patch_content("films", "m-0001", {"genre": "other"})
                await self.delete_content("films", "m-0003")
            return page

    for write in ("patch_matching", "delete_matching"):
        async with Interrupted(server_address, tenant_id=f"tenant-{uuid.uuid4()}", user="ada") as client:
            await client.import_content("films", FILMS[:4])
            arguments = [{"seen": True}] if write == "patch_matching" else []
            done = await getattr(client, write)("films", 'genre = "drama"', *arguments)
            assert (done.matched_count, done.changed_count, done.skipped_count, done.failures) == (2, 0, 2, ())


@pytest.mark.parametrize(
    ("condition", "options", "error", "message"),
    [
        ("", {}, ValueError, "would match every record"),
        ("  ", {}, ValueError, "would match every record"),
        ("n >= 0", {"max_records": 3}, ValueError, "4 records match, which is more than max_records, 3"),
        ('NOT gerne = "x"', {}, draftline.InvalidArgumentError, "did you mean genre"),
        ("n = ", {}, draftline.InvalidFilterError, "expected a value"),
        ("n = 1", {"max_records": 0}, ValueError, "at least 1"),
    ],
)
async def test_dangerous_filter_is_rejected_before_anything_is_written(
    client: Any, condition: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    await client.import_content("films", FILMS[:4])
    with pytest.raises(error, match=message):
        await client.delete_matching("films", condition, **options)
    with pytest.raises(error, match=message):
        await client.patch_matching("films", condition, {"n": 1}, **options)
    assert [each.record.version async for each in client.get_merged("films")] == [1, 1, 1, 1]


def test_commands_ask_before_they_write(server_address: str) -> None:
    tenant = "tenant-of-matching-commands"
    own = ["--tenant", tenant, "--address", server_address]
    with draftline.Client(server_address, tenant_id=tenant, user="ada") as client:
        client.import_content("films", FILMS[:10])
        update = ["update", "films", "--filter", 'genre = "drama"', "--delta", '{"genre": "new"}', *own]
        assert "5 would be patched" in invoked(*update, "--dry-run").stdout
        refused = invoked(*update, stdin=b"n\n")
        assert refused.returncode == 1
        assert "Patch 5 records (m-0001, m-0003" in refused.stderr
        assert "5 patched" in invoked(*update, "--yes", "--reason", "test").stdout
        assert invoked(*update[:5], "[1]", *own).returncode == 2
        delete = ["delete", "films", "--filter", 'genre = "new"', *own]
        assert "5 would be deleted" in invoked(*delete, "--dry-run").stdout
        assert '"changed": 5' in invoked(*delete, "--yes", "--json").stdout
        assert len(list(client.get_merged("films"))) == 5


def test_command_writes_no_more_records_than_were_confirmed(
    server_address: str, tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["--address", server_address, "--tenant", tenant_id, "--user", "ada"]
    with draftline.Client(server_address, tenant_id=tenant_id, user="ada") as client:
        client.import_content("films", FILMS[:2])

        def confirm_late(*_: Any, **__: Any) -> bool:
            client.create_content("films", {"genre": "drama", "n": 5}, record_id="late")
            return True

        monkeypatch.setattr("click.confirm", confirm_late)
        for command in (["update", "--delta", '{"genre": "new"}'], ["delete"]):
            refused = invoked(command[0], "films", "--filter", 'genre = "drama"', *command[1:], *own)
            assert (refused.returncode, "more than the 1 records that were confirmed" in refused.stderr) == (1, True)
            assert client.get_content("films", "m-0001").content["genre"] == "drama"
            client.delete_content("films", "late")
            client.purge_content("films", ["late"])
        nothing = invoked("update", "films", "--filter", "n > 100", "--delta", "{}", *own)
        assert (nothing.returncode, "0 patched" in nothing.stdout) == (0, True)
        with pytest.raises(draftline.NotFoundError):
            client.get_content("films", "late")
