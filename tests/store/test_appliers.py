"""In place, or by fetch, merge and replace: patches answer the same, and leave the same rows."""

import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from draftline_server.domain.content import Limits, equal
from draftline_server.domain.edits import Strategy
from draftline_server.domain.errors import DraftlineError
from draftline_server.domain.filters.parser import parse_filter
from draftline_server.domain.records import Actor, Delta, Patch, PatchResult
from draftline_server.store.collections.cache import CollectionSpecs
from draftline_server.store.content import ContentStore
from draftline_server.store.database import Database
from draftline_server.store.fetched_patches import FetchedPatches
from draftline_server.store.in_place_patches import InPlacePatches
from draftline_server.store.patches import PatchStore
from draftline_server.store.statements import Statement
from draftline_server.store.write_transactions import WriteTransactions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.batched_patches import CONDITIONS, STORED, told
from support.edit_strategies import changes, contents, decode, to_text
from support.soak_scale import examples
from support.tenant_stores import SCHEMAS, patched

LIMITS = Limits(max_depth=6, max_indexed_text_bytes=12)
# A declared collection: the text at /a is indexed, and /b must not be a boolean.
DECLARE = Statement(
    "declare",
    """
    INSERT INTO draftline.collection
        (tenant_id, collection, fields, orders, indexed_text, json_schema, version, created_at, updated_at)
    VALUES ($1, 'declared', '[{"path": ["a"], "type": "TEXT"}]', '[]', '[["a"]]',
        '{"properties": {"b": {"not": {"type": "boolean"}}}}', 1, now(), now())
    """,
    ("tenant_id",),
)
IDS = [(collection, record_id) for collection in ("free", "declared") for record_id in ("1", "2", "😀")]


@dataclass(frozen=True)
class Side:
    """One of the two ways to patch, for a tenant of its own."""

    database: Database
    content: ContentStore
    patches: PatchStore
    transactions: WriteTransactions
    actor: Actor

    async def run(self, step: "Step") -> Any:
        """Return the result for the caller."""
        try:
            if isinstance(step, Batch):
                results = await patched(
                    self.transactions, self.patches, self.actor, step.patches,
                    partial=step.allow_partial, validate_only=step.validate_only,
                )  # fmt: skip
                return [told(result) for result in results]
            return await self.content.delete(
                self.actor, *step.record, expected_version=None, condition=None, allow_missing=True,
                change_reason="", validate_only=False,
            ) is None  # fmt: skip
        except DraftlineError as error:
            return told(PatchResult(error=error))

    async def stored(self) -> list[dict[str, Any]]:
        rows = await self.database.fetch(STORED, {"tenant_id": self.actor.tenant_id})
        return [{**row, "content": decode(row["content"])} for row in rows]


@dataclass(frozen=True)
class Batch:
    patches: Sequence[Patch]
    allow_partial: bool
    validate_only: bool


@dataclass(frozen=True)
class Deletion:
    record: tuple[str, str]


Step = Batch | Deletion


@st.composite
def patches(draw: st.DrawFn, record: tuple[str, str], content: Any) -> Patch:
    condition = draw(st.none() | st.none() | st.sampled_from(CONDITIONS))
    return Patch(
        *record,
        change=draw(st.none() | changes(content) | changes(content)),
        expected_version=draw(st.none() | st.none() | st.integers(0, 4)),
        condition=None if condition is None else parse_filter(condition),
        allow_missing=draw(st.booleans()),
        parent_id=draw(st.none() | st.none() | st.sampled_from(["p", ""])),
        position=draw(st.none() | st.none() | st.integers(-(2**63), 2**63 - 1)),
    )


@st.composite
def batches(draw: st.DrawFn, stored: dict[tuple[str, str], Any]) -> Step:
    if draw(st.integers(0, 12)) == 12:
        return Deletion(draw(st.sampled_from(IDS)))
    records = draw(st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True))
    found = [draw(patches(record, stored.get(record, {}))) for record in records]
    return Batch(found, draw(st.booleans()), draw(st.sampled_from([False, False, False, True])))


_tenants = itertools.count()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def sides(database: Database) -> Any:
    """Makes the two, each for a new tenant with the same collection declared."""

    async def make() -> list[Side]:
        made: list[Side] = []
        for applier in (InPlacePatches, FetchedPatches):
            actor = Actor(f"tenant-{next(_tenants)}", "ada")
            specs = CollectionSpecs(database, SCHEMAS)
            made.append(
                Side(
                    database,
                    ContentStore(database, specs, LIMITS),
                    PatchStore(database, specs, applier(specs, LIMITS)),
                    WriteTransactions(database, specs),
                    actor,
                )
            )
            await database.fetch(DECLARE, {"tenant_id": actor.tenant_id})
        return made

    return make


async def assert_same(both: Sequence[Side], step: Step) -> list[dict[str, Any]]:
    """Takes the step on both sides; the rows that it leaves."""
    in_place, fetched = [await side.run(step) for side in both]
    assert equal(in_place, fetched), (in_place, fetched)
    left, right = [await side.stored() for side in both]
    assert equal(left, right)
    return left


@settings(
    max_examples=examples(60),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
async def test_patches_answer_and_leave_the_same(sides: Any, data: st.DataObject) -> None:
    both = await sides()
    first = {record: data.draw(contents) for record in data.draw(st.lists(st.sampled_from(IDS), unique=True))}
    creations = [
        Patch(*record, Delta(to_text(content), Strategy.REPLACE), allow_missing=True)
        for record, content in first.items()
    ]
    rows = await assert_same(both, Batch(creations, allow_partial=True, validate_only=False))
    for _ in range(data.draw(st.integers(1, 5))):
        stored = {(row["collection"], row["record_id"]): row["content"] for row in rows}
        rows = await assert_same(both, data.draw(batches(stored)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1}', None),
        ('{"a": "thirteen byte"}', "INDEXED_TEXT_TOO_LONG"),
        ('{"b": true}', "SCHEMA_VIOLATION"),
        ('{"c": {"d": {"e": {"f": {"g": {"h": []}}}}}}', "DOCUMENT_TOO_LARGE"),
        (to_text({"c": "x" * LIMITS.max_bytes}), "DOCUMENT_TOO_LARGE"),
    ],
)
@pytest.mark.parametrize("validate_only", [False, True])
async def test_unfit_content_is_refused_the_same(
    sides: Any, text: str, reason: str | None, validate_only: bool
) -> None:
    both = await sides()
    patch = Patch("declared", "1", Delta(text, Strategy.SHALLOW), allow_missing=True)
    batch = Batch([patch], allow_partial=True, validate_only=validate_only)
    rows = await assert_same(both, batch)
    assert len(rows) == (reason is None and not validate_only)
    assert [result.get("reason") for result in await both[0].run(batch)] == [reason]


async def test_failing_patch_keeps_an_atomic_batch_from_being_written(sides: Any) -> None:
    both = await sides()
    good = Patch("free", "1", Delta('{"a": 1}', Strategy.SHALLOW), allow_missing=True)
    bad = Patch("free", "2", Delta('{"a": 1}', Strategy.SHALLOW))
    assert await assert_same(both, Batch([good, bad], allow_partial=False, validate_only=False)) == []
    rows = await assert_same(both, Batch([good, bad], allow_partial=True, validate_only=False))
    assert [row["record_id"] for row in rows] == ["1"]
