"""Reads in groups answer what they would one at a time, and see whatever was answered before they came."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from draftline_server.background.read_batcher import ReadBatcher
from draftline_server.domain.content import Limits
from draftline_server.domain.errors import DatabaseUnavailableError, RecordDeletedError, RecordNotFoundError
from draftline_server.domain.records import Actor, NewRecord, Record
from draftline_server.store.collections.cache import CollectionSpecs
from draftline_server.store.content import ContentStore
from draftline_server.store.database import Database
from support.tenant_stores import SCHEMAS


class Watched(ContentStore):
    """Counts the groups; `before` is called with each, and may raise."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, CollectionSpecs(database, SCHEMAS), Limits())
        self.groups: list[list[str]] = []
        self.before: Any = None

    async def find(self, actor: Actor, ids: Sequence[tuple[str, str]]) -> Sequence[Record | None]:
        self.groups.append([record_id for _, record_id in ids])
        if self.before is not None:
            await self.before()
        return await super().find(actor, ids)


@pytest.fixture
def content(database: Database) -> Watched:
    return Watched(database)


async def create(content: ContentStore, actor: Actor, *record_ids: str) -> None:
    for record_id in record_ids:
        new = NewRecord("films", record_id, f'{{"of": "{actor.tenant_id}"}}')
        await content.create(actor, new, change_reason="", validate_only=False)


async def told(reads: ReadBatcher | ContentStore, actor: Actor, record_id: str, *, show_deleted: bool) -> object:
    try:
        return await reads.get(actor, "films", record_id, show_deleted=show_deleted)
    except (RecordNotFoundError, RecordDeletedError) as error:
        return type(error), error.message


async def test_reads_in_a_group_answer_what_they_do_alone(content: Watched, tenant_id: str) -> None:
    actor = Actor(tenant_id, "ada")
    await create(content, actor, "1", "2", "gone")
    await content.delete(
        actor, "films", "gone", expected_version=None, condition=None, allow_missing=False,
        change_reason="", validate_only=False,
    )  # fmt: skip
    wanted = [(record_id, deleted) for record_id in ("1", "gone", "none", "2", "1") for deleted in (False, True)]
    reads = ReadBatcher(content)
    together = await asyncio.gather(*(told(reads, actor, each, show_deleted=deleted) for each, deleted in wanted))
    assert [len(group) for group in content.groups] == [1, len(wanted) - 1]
    assert together == [await told(content, actor, each, show_deleted=deleted) for each, deleted in wanted]


async def test_tenants_share_no_statement(content: Watched, tenant_id: str) -> None:
    actors = [Actor(f"{tenant_id}-{number}", "ada") for number in range(2)]
    for actor in actors:
        await create(content, actor, "1")
    reads = ReadBatcher(content)
    sent = [reads.get(actor, "films", "1", show_deleted=False) for actor in actors for _ in range(5)]
    found = await asyncio.gather(*sent)
    assert [record.content for record in found] == [
        f'{{"of": "{actor.tenant_id}"}}' for actor in actors for _ in range(5)
    ]
    assert sorted(map(len, content.groups)) == [1, 1, 4, 4]


async def test_read_does_not_join_a_statement_that_was_sent_before(content: Watched, tenant_id: str) -> None:
    actor = Actor(tenant_id, "ada")
    running_fetch, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        running_fetch.set()
        await go_on.wait()

    content.before = wait
    reads = ReadBatcher(content)
    early = asyncio.create_task(told(reads, actor, "1", show_deleted=False))
    await running_fetch.wait()
    await create(content, actor, "1")
    late = asyncio.create_task(told(reads, actor, "1", show_deleted=False))
    await asyncio.sleep(0)
    go_on.set()
    await early
    assert isinstance(await late, Record)
    assert content.groups == [["1"], ["1"]]


async def test_failure_is_told_to_each_and_hangs_nobody(content: Watched, tenant_id: str) -> None:
    actor = Actor(tenant_id, "ada")

    async def fail() -> None:
        raise DatabaseUnavailableError("away")

    content.before = fail
    reads = ReadBatcher(content)
    sent = (reads.get(actor, "films", str(number), show_deleted=False) for number in range(10))
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailableError] * 10
    content.before = None
    assert await told(reads, actor, "1", show_deleted=False) == await told(content, actor, "1", show_deleted=False)
