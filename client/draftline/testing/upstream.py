"""Tests that every connector to a system of record must pass.

Derive a class in a test file, and run it with pytest:

    from draftline.testing.upstream import UpstreamConformance

    class TestPems(UpstreamConformance):
        collection = "parts"

        def open(self):
            return PemsUpstream(endpoint, "acme", [CollectionBinding(collection="parts")])

The tests write to the system: use one for tests. A test of a capability that the connector does not claim is skipped,
so look at the skipped ones as well. The records of a test have their own ids, so the system may hold others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from draftline.testing.upstream_steps import System
from draftline.upstreams import Applied, Create, Delete, Exists, Gone, PathEdit, Stale, Update, Upstream


class UpstreamConformance:
    """The tests. Override `open`, and what does not suit the system.

    Attributes:
        collection: The bound collection.
        removable: A path of `document` that may be removed.
        texts: Values of `text_path` that must be stored unchanged.
        text_path: A path of a text in `document`.
    """

    collection = "conformance"
    removable = "/note"
    text_path = "/name"
    texts = ("", " a ", 'ä "quoted" \\ /', "日本語 🙂", "line\nline", "null", "1e3")

    def open(self) -> Upstream:
        """Return a connection to the system, which the test closes."""
        raise NotImplementedError

    def document(self, number: int) -> Mapping[str, Any]:
        """Return a document that the system accepts and stores unchanged. It differs for each number."""
        return {"name": f"record {number}", "rate": number, "note": "to be removed"}

    def edit(self, number: int) -> PathEdit:
        """Return an edit that the system accepts, with a value that differs for each number."""
        return PathEdit("/rate", number)

    # Writes

    def test_created_record_is_returned_by_lookup(self) -> None:
        """A creation returns the id, and a lookup of it the document."""

        async def scenario(system: System) -> None:
            created = await system.create(self.document(1))
            found = await system.find(created.remote_id)
            assert not found.deleted
            assert found.document == self.document(1)
            if created.stored is not None:
                assert created.stored == found

        self.run(scenario, "lookups")

    def test_update_changes_only_its_paths(self) -> None:
        """An update sets and removes paths, and leaves the others."""

        async def scenario(system: System) -> None:
            created = await system.create(self.document(1))
            edits = (self.edit(2), PathEdit(self.removable, removed=True))
            outcome = await system.write(Update(edits), created.remote_id)
            assert isinstance(outcome, Applied)
            expected = dict(self.document(1))
            expected.pop(self.removable[1:])
            await system.expect(created.remote_id, {**expected, self.edit(2).path[1:]: self.edit(2).value})

        self.run(scenario, "lookups")

    def test_stored_record_is_that_of_its_own_write(self) -> None:
        """`Applied.stored` has the value and the version of its write, whatever others write before a read."""

        async def scenario(system: System) -> None:
            created = await system.create(self.document(1))
            edits = [self.edit(number) for number in range(2, 10)]
            outcomes = await asyncio.gather(*(system.write(Update((each,)), created.remote_id) for each in edits))
            for edit, outcome in zip(edits, outcomes, strict=True):
                assert isinstance(outcome, Applied)
                if outcome.stored is not None:
                    assert outcome.stored.document == {**self.document(1), edit.path[1:]: edit.value}
                    assert outcome.stored.remote_version == outcome.remote_version

        self.run(scenario, "returns_stored")

    def test_texts_are_stored_unchanged(self) -> None:
        """Texts in any script, and those that look like other types, come back as they were sent."""

        async def scenario(system: System) -> None:
            created = await system.create(self.document(1))
            for text in self.texts:
                await system.write(Update((PathEdit(self.text_path, text),)), created.remote_id)
                await system.expect(created.remote_id, {**self.document(1), self.text_path[1:]: text})

        self.run(scenario, "lookups")

    def test_deleted_record_is_gone_and_can_be_deleted_again(self) -> None:
        """A deletion of a missing record is applied, and an update of it is `Gone`."""

        async def scenario(system: System) -> None:
            created = await system.create(self.document(1))
            for _ in range(2):
                assert isinstance(await system.write(Delete(), created.remote_id), Applied)
            await system.until(lambda: system.is_deleted(created.remote_id))
            assert await system.write(Update((self.edit(2),)), created.remote_id) == Gone()

        self.run(scenario, "lookups")

    def test_batch_has_one_outcome_for_each_item_in_order(self) -> None:
        """An item that fails does not affect the others, and its outcome is at its position."""

        async def scenario(system: System) -> None:
            created = await system.create(self.document(1))
            deleted = await system.create(self.document(2))
            await system.write(Delete(), deleted.remote_id)
            items = [
                system.item(Update((self.edit(3),)), deleted.remote_id),
                system.item(Update((self.edit(4),)), created.remote_id),
                system.item(Create(self.document(5))),
            ]
            outcomes = [each for start in range(0, 3, system.batch) for each in await system.send(items[start:], start)]
            assert [type(each) for each in outcomes[:3]] == [Gone, Applied, Applied]

        self.run(scenario)

    def test_atomic_batch_is_applied_whole_or_not_at_all(self) -> None:
        """If one item of an atomic batch fails, no other is applied."""

        async def scenario(system: System) -> None:
            created = await system.create(self.document(1))
            deleted = await system.create(self.document(2))
            await system.write(Delete(), deleted.remote_id)
            items = [
                system.item(Update((self.edit(3),)), created.remote_id),
                system.item(Update((self.edit(3),)), deleted.remote_id),
            ]
            outcomes = await system.upstream.write(self.collection, items, atomic=True)
            assert not any(isinstance(each, Applied) for each in outcomes)
            await system.expect(created.remote_id, self.document(1))

        self.run(scenario, "atomic_batch")

    # Repeats

    def test_repeated_creation_makes_one_record(self) -> None:
        """The same creation, sent three times, of which two at the same time, has one id."""

        async def scenario(system: System) -> None:
            item = system.item(Create(self.document(1)))
            first = await asyncio.gather(*(system.upstream.write(self.collection, [item]) for _ in range(2)))
            repeat = await system.upstream.write(self.collection, [system.repeated(item)])
            ids = {each.remote_id for (each,) in [*first, repeat] if isinstance(each, Applied)}
            assert len(ids) == 1
            assert isinstance(repeat[0], Applied)

        self.run(scenario, "idempotency_keys_s")

    def test_repeated_update_does_not_overwrite_a_later_one(self) -> None:
        """A write that arrives again, after another write of the record, has no effect."""

        async def scenario(system: System) -> None:
            created = await system.create(self.document(1))
            first = system.item(Update((self.edit(2),)), created.remote_id)
            await system.upstream.write(self.collection, [first])
            await system.write(Update((self.edit(3),)), created.remote_id)
            (outcome,) = await system.upstream.write(self.collection, [system.repeated(first)])
            assert isinstance(outcome, Applied)
            await system.expect(created.remote_id, {**self.document(1), self.edit(3).path[1:]: self.edit(3).value})

        self.run(scenario, "idempotency_keys_s", "lookups")

    # Versions and references

    def test_write_to_another_version_is_stale_and_changes_nothing(self) -> None:
        """A write with an old version is `Stale`, with the current state if the system returns it."""

        async def scenario(system: System) -> None:
            created = await system.create(self.document(1))
            changed = await system.write(Update((self.edit(2),)), created.remote_id, created.remote_version)
            assert isinstance(changed, Applied)
            for write in (Update((self.edit(3),)), Delete()):
                stale = await system.write(write, created.remote_id, created.remote_version)
                assert isinstance(stale, Stale)
                assert stale.record is None or stale.record.remote_version == changed.remote_version
            await system.expect(created.remote_id, {**self.document(1), self.edit(2).path[1:]: self.edit(2).value})

        self.run(scenario, "conditional_writes", "lookups")

    def test_one_of_concurrent_writes_to_a_version_is_applied(self) -> None:
        """Exactly one of several writes to the same version, sent at the same time, is applied."""

        async def scenario(system: System) -> None:
            created = await system.create(self.document(1))
            writes = [
                system.write(Update((self.edit(number),)), created.remote_id, created.remote_version)
                for number in range(2, 7)
            ]
            outcomes = await asyncio.gather(*writes)
            assert sorted(type(each).__name__ for each in outcomes) == ["Applied"] + ["Stale"] * 4

        self.run(scenario, "conditional_writes")

    def test_versions_grow(self) -> None:
        """Each change of a record has a larger version than the one before."""

        async def scenario(system: System) -> None:
            created = await system.create(self.document(1))
            versions = [created.remote_version]
            for number in range(2, 13):
                outcome = await system.write(Update((self.edit(number),)), created.remote_id)
                assert isinstance(outcome, Applied)
                versions.append(outcome.remote_version)
            assert versions == sorted(set(versions), key=int)

        self.run(scenario, "ordered_versions")

    def test_second_creation_with_a_reference_finds_the_first(self) -> None:
        """Another creation with the same client reference is `Exists`; reads return the reference."""

        async def scenario(system: System) -> None:
            item = system.item(Create(self.document(1)))
            (created,) = await system.upstream.write(self.collection, [item])
            assert isinstance(created, Applied)
            other = system.item(Create(self.document(2)), record_id=item.record_id)
            (exists,) = await system.upstream.write(self.collection, [other])
            assert isinstance(exists, Exists)
            assert exists.record is None or exists.record.remote_id == created.remote_id
            assert (await system.find(created.remote_id)).record_id == item.record_id

        self.run(scenario, "client_reference", "lookups")

    # Reads

    def test_lookup_returns_each_id_in_order(self) -> None:
        """A lookup returns one record for each id, with `deleted` for one that does not exist."""

        async def scenario(system: System) -> None:
            first, second = await system.create(self.document(1)), await system.create(self.document(2))
            await system.find(second.remote_id)
            await system.write(Delete(), first.remote_id)
            await system.until(lambda: system.is_deleted(first.remote_id))
            ids = [second.remote_id, first.remote_id, second.remote_id]
            found = await system.upstream.lookup(self.collection, ids)
            assert [(each.remote_id, each.deleted) for each in found] == [
                (ids[0], False),
                (ids[1], True),
                (ids[2], False),
            ]

        self.run(scenario, "lookups")

    def test_changes_return_every_write_after_the_cursor(self) -> None:
        """Creations, updates and, if claimed, deletions are returned after a cursor; and again from the same cursor."""

        async def scenario(system: System) -> None:
            _, cursor = await system.read(system.upstream.changes(self.collection, None))
            kept, changed, deleted = [await system.create(self.document(number)) for number in range(3)]
            _, between = await system.read(system.upstream.changes(self.collection, cursor))
            await system.write(Update((self.edit(7),)), changed.remote_id)
            await system.write(Delete(), deleted.remote_id)
            expected = {**self.document(1), self.edit(7).path[1:]: self.edit(7).value}

            async def has_all() -> bool:
                seen, _ = await system.read(system.upstream.changes(self.collection, between))
                is_deleted = deleted.remote_id in seen and seen[deleted.remote_id].deleted
                is_changed = changed.remote_id in seen and seen[changed.remote_id].document == expected
                return is_changed and (is_deleted or not system.capabilities.deletions_in_changes)

            for _ in range(2):
                await system.until(has_all)
            seen, _ = await system.read(system.upstream.changes(self.collection, cursor))
            assert kept.remote_id in seen

        self.run(scenario, "changes")

    def test_snapshot_returns_all_records_and_no_deleted_one(self) -> None:
        """A snapshot has every record that exists, and may be continued after each of its pages."""

        async def scenario(system: System) -> None:
            kept = [await system.create(self.document(number)) for number in range(5)]
            deleted = await system.create(self.document(5))
            await system.write(Delete(), deleted.remote_id)
            ids = {each.remote_id for each in kept}

            async def is_complete() -> bool:
                seen, _ = await system.read(system.upstream.snapshot(self.collection, None))
                return ids <= seen.keys() and deleted.remote_id not in seen

            await system.until(is_complete)
            pages = [page async for page in system.upstream.snapshot(self.collection, None)]
            for index, page in enumerate(pages[:-1]):
                if page.cursor is not None:
                    rest, _ = await system.read(system.upstream.snapshot(self.collection, page.cursor))
                    assert {each.remote_id for later in pages[index + 1 :] for each in later.records} <= rest.keys()

        self.run(scenario, "snapshots")

    def test_changes_continue_after_a_snapshot_without_a_gap(self) -> None:
        """Writes that are made while a snapshot is read are in the changes after its cursor."""

        async def scenario(system: System) -> None:
            created = await system.create(self.document(1))
            cursor, is_first = None, True
            async for page in system.upstream.snapshot(self.collection, None):
                if is_first:
                    await system.write(Update((self.edit(9),)), created.remote_id)
                    is_first = False
                cursor = page.changes_cursor

            async def is_seen() -> bool:
                seen, _ = await system.read(system.upstream.changes(self.collection, cursor))
                expected = {**self.document(1), self.edit(9).path[1:]: self.edit(9).value}
                return created.remote_id in seen and seen[created.remote_id].document == expected

            await system.until(is_seen)

        self.run(scenario, "snapshots", "changes")

    def run(self, scenario: Callable[[System], Coroutine[Any, Any, None]], *needed: str) -> None:
        """Run a scenario on a new connection. Skip the test if a needed capability is not claimed."""

        async def run() -> None:
            upstream = self.open()
            try:
                system = System(upstream, self.collection, await upstream.describe(self.collection))
                for name in needed:
                    if not getattr(system.capabilities, name):
                        pytest.skip(f"the connector does not claim {name}")
                await scenario(system)
            finally:
                await upstream.close()

        asyncio.run(run())
