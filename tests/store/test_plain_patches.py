"""Plain and lean patches have statements of their own: they do what the general one does, or leave the patch to it."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
from draftline_server.background.patch_batcher import PatchBatcher
from draftline_server.domain.content import Limits, equal
from draftline_server.domain.edits import Operation, Strategy
from draftline_server.domain.errors import DraftlineError
from draftline_server.domain.records import Actor, Delta, NewRecord, Operations, Patch, PatchResult, Request
from draftline_server.store.content import limit_values
from draftline_server.store.database import Database
from draftline_server.store.in_place_patches import LEAN, WAITING, InPlacePatches, PatchEntry, Terms
from draftline_server.store.patches import PatchStore
from draftline_server.store.statements import Statement
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.batched_patches import told
from support.edit_strategies import changes, contents, to_text
from support.soak_scale import examples
from support.tenant_changes import LoggedWorld
from support.tenant_stores import COLLECTION, change, patched

LIMITS = Limits(max_depth=6, max_indexed_text_bytes=12)
IDS = ("1", "2", "3", "😀")
USERS = ("ada", "bob")
TABLES = ("record", "change", "draft", "request", "order_entry", "draft_order_entry")
# The columns that differ between tenants.
OWN = {"tenant_id", "log_xact", "change_id", "commit_id", "order_id", "created_at", "updated_at", "deleted_at"}

_tenants = itertools.count()


@dataclass(frozen=True)
class Step:
    """Patches of different records: of one call, of calls at once, or one of them alone."""

    patches: Sequence[Patch]
    requests: Sequence[uuid.UUID | None]
    together: str


class Counted(InPlacePatches):
    """Counts the patches that the statements for plain patches apply; without `plain` or `lean`, one never gets any."""

    plain = lean = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.applied = self.statements = 0

    def entry(self, *arguments: Any, **options: Any) -> PatchEntry:
        made = super().entry(*arguments, **options)
        return replace(made, is_plain=made.is_plain and self.plain, fields=made.fields if self.lean else None)

    async def rows(self, runner: Any, entries: Sequence[PatchEntry], terms: Terms = WAITING) -> Any:
        rows = await super().rows(runner, entries, terms)
        self.statements += 1
        self.applied += sum(terms.plain and row is not None for row in rows)
        return rows


class Side(LoggedWorld):
    """A tenant whose plain and lean patches use their statements, or do not."""

    def __init__(self, database: Database, *, plain: bool = True, lean: bool = True) -> None:
        super().__init__(database, f"plain-{next(_tenants)}", LIMITS)
        self.applier = Counted(self.specs, LIMITS)
        self.applier.plain, self.applier.lean = plain, lean
        self.patches = PatchStore(database, self.specs, self.applier)
        self.groups = PatchStore(database, self.specs, PatchBatcher(self.applier))

    async def send(self, patch: Patch, request: uuid.UUID | None, store: PatchStore) -> Any:
        stated = Request(str(request), hashlib.sha256(request.bytes)) if request is not None else None
        actor = Actor(self.tenant_id, "ada", stated)
        try:
            return told(await store.patch(actor, patch, change_reason="why", validate_only=False))
        except DraftlineError as error:
            return told(PatchResult(error=error))

    async def run(self, step: Step) -> Any:
        if step.together == "batch":
            results = await patched(self.transactions, self.patches, self.actor("ada"), step.patches, partial=True)
            return [told(result) for result in results]
        if step.together == "group":
            requested = zip(step.patches, step.requests, strict=True)
            return await asyncio.gather(*(self.send(patch, request, self.groups) for patch, request in requested))
        return [await self.send(step.patches[0], step.requests[0], self.patches)]

    async def left(self) -> dict[str, list[Any]]:
        """Return every row that the tenant has, without the columns that differ between tenants."""
        found: dict[str, list[Any]] = {}
        for table in TABLES:
            sql = f"SELECT to_jsonb(t)::text AS row FROM draftline.{table} AS t WHERE tenant_id = $1"
            rows = await self.database.fetch(Statement("left", sql, ("tenant_id",)), {"tenant_id": self.tenant_id})
            kept = [_without_own(json.loads(row["row"], parse_float=Decimal)) for row in rows]
            found[table] = sorted(kept, key=str)
        return found


def _without_own(row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in sorted(row.items()) if name not in OWN}
    if isinstance(kept.get("answer"), dict):  # a stored response, which has times as well
        kept["answer"] = _without_own(kept["answer"])
    return kept


@st.composite
def steps(draw: st.DrawFn, stored: dict[str, Any]) -> Step:
    records = draw(st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True))
    patches = [
        Patch(
            COLLECTION,
            record_id,
            change=draw(changes(stored.get(record_id, {}))),
            expected_version=draw(st.sampled_from([None, None, None, None, 1, 2])),
            allow_missing=draw(st.sampled_from([False, False, False, True])),
            position=draw(st.sampled_from([None, None, None, None, 1])),
        )
        for record_id in records
    ]
    requests = [draw(st.none() | st.uuids()) for _ in records]
    return Step(patches, requests, draw(st.sampled_from(["batch", "group", "alone"])))


@settings(
    max_examples=examples(50),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
async def test_plain_statement_does_what_the_general_one_does(database: Database, data: st.DataObject) -> None:
    sides = Side(database, lean=data.draw(st.booleans())), Side(database, plain=False)
    history = data.draw(st.sampled_from(["VALUES", "VALUES", "PATHS"]))
    stored = {record_id: data.draw(contents) for record_id in data.draw(st.lists(st.sampled_from(IDS), unique=True))}
    drafted = data.draw(st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from(IDS)), max_size=2, unique=True))
    deleted = data.draw(st.sampled_from([None, None, *IDS]))
    draft = data.draw(contents)
    for side in sides:
        if history == "PATHS":
            await side.keep_paths_only()
        else:
            await side.declare(
                fields='[{"path": ["a"], "type": "TEXT"}]',
                orders='[[{"path": ["a"], "descending": true}]]',
                indexed_text='[["a"]]',
            )
        for record_id, content in stored.items():
            new = NewRecord(COLLECTION, record_id, to_text(content))
            await side.content.create(side.actor("sys"), new, change_reason="", validate_only=False)
        for user, record_id in drafted:
            if record_id in stored:
                await side.save(user, change(record_id, draft))
        if deleted in stored:
            await side.delete(deleted)
    for _ in range(data.draw(st.integers(1, 4))):
        step = data.draw(steps(stored))
        plain, general = [await side.run(step) for side in sides]
        assert equal(plain, general), (plain, general)
        left, right = [await side.left() for side in sides]
        for table in TABLES:
            assert equal(left[table], right[table]), (table, left[table], right[table])
    assert await sides[0].differences() == []


@pytest.fixture
async def side(database: Database) -> Side:
    made = Side(database)
    await made.declare(fields='[{"path": ["n"], "type": "NUMBER"}]', orders='[[{"path": ["n"], "descending": false}]]')
    for record_id in IDS:
        await made.put(record_id, {"n": 1, "text": "x"})
    made.applier.applied = made.applier.statements = 0
    return made


@pytest.mark.parametrize(
    "made",
    [
        Delta(to_text({"text": "y"}), Strategy.SHALLOW),
        Delta(to_text({"n": 2}), Strategy.DEEP),
        Delta(to_text({"text": None}), Strategy.MERGE_PATCH),
        Delta(to_text({"n": 2}), Strategy.REPLACE),
        Operations([Operation("increment", ("n",), value=1)]),
    ],
)
@pytest.mark.parametrize("together", ["batch", "group", "alone"])
async def test_plain_patch_takes_one_statement(side: Side, made: Any, together: str) -> None:
    await side.run(Step([Patch(COLLECTION, "1", change=made)], [uuid.uuid4()], together))
    assert (side.applier.statements, side.applier.applied) == (1, 1)


@pytest.mark.parametrize("together", ["batch", "group"])
async def test_plain_statement_leaves_what_it_is_not_for(side: Side, together: str) -> None:
    await side.save("bob", change("1", {"text": "mine"}))
    await side.delete("2")
    delta = Delta(to_text({"text": "y"}), Strategy.SHALLOW)
    patches = [Patch(COLLECTION, record_id, change=delta) for record_id in (*IDS, "missing")]
    results = await side.run(Step(patches, [None] * len(patches), together))
    assert [result.get("reason") for result in results] == [None, "RECORD_DELETED", None, None, "RECORD_NOT_FOUND"]
    assert side.applier.applied == len(patches) - 1  # without the one with a draft
    assert await side.differences() == []


LEAN_TEXTS = {statement.sql for statement in LEAN.values()}


@pytest.mark.parametrize("together", ["batch", "group", "alone"])
@pytest.mark.parametrize(
    ("made", "is_lean"),
    [
        (Delta(to_text({"text": "y"}), Strategy.SHALLOW), True),
        (Delta(to_text({"text": "y", "n": 2}), Strategy.SHALLOW), False),
        (Delta('{"\\u006e": 2}', Strategy.SHALLOW), False),
        (Delta(to_text({"text": "y"}), Strategy.DEEP), False),
    ],
    ids=["undeclared", "declared", "escaped", "deep"],
)
async def test_patch_is_lean_if_no_order_reads_its_fields(
    side: Side, monkeypatch: pytest.MonkeyPatch, made: Delta, is_lean: bool, together: str
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(side.database.connections, "observers", [lambda sql, _: sent.append(sql)])
    await side.run(Step([Patch(COLLECTION, "1", change=made)], [uuid.uuid4()], together))
    assert bool(LEAN_TEXTS & set(sent)) is is_lean
    assert (side.applier.statements, side.applier.applied) == (1, 1)
    assert await side.differences() == []


@pytest.mark.parametrize("together", ["batch", "group", "alone"])
async def test_lean_statement_leaves_fields_that_an_order_being_dropped_reads(side: Side, together: str) -> None:
    await side.declare()
    patch = Patch(COLLECTION, "1", change=Delta(to_text({"n": 2}), Strategy.SHALLOW))
    await side.run(Step([patch], [None], together))  # it reads the new spec
    applied = side.applier.applied
    patch = Patch(COLLECTION, "2", change=Delta(to_text({"n": 3}), Strategy.SHALLOW))
    await side.run(Step([patch], [None], together))
    assert side.applier.applied == applied
    assert await side.differences() == []


@pytest.mark.parametrize("lean", [True, False])
@pytest.mark.parametrize(
    ("limits", "record_id", "delta", "reason"),
    [
        (Limits(max_bytes=1024, max_nodes=4), "1", {f"k{n}": n for n in range(4)}, "DOCUMENT_TOO_LARGE"),
        (Limits(max_bytes=1024), "1", {"text": "é" * 600}, "DOCUMENT_TOO_LARGE"),
        (Limits(max_indexed_text_bytes=2), "long", {"text": 1}, "INDEXED_TEXT_TOO_LONG"),
    ],
    ids=["values", "bytes", "text"],
)
async def test_lean_statement_refuses_contents_over_a_limit(
    side: Side, limits: Limits, record_id: str, delta: dict[str, Any], reason: str, lean: bool
) -> None:
    await side.declare(fields='[{"path": ["a"], "type": "TEXT"}]', indexed_text='[["a"]]')
    await side.load({"long": {"a": "abc"}})
    side.applier._limits, side.applier.lean = limit_values(limits), lean
    patch = Patch(COLLECTION, record_id, change=Delta(to_text(delta), Strategy.SHALLOW))
    (result,) = await side.run(Step([patch], [None], "alone"))
    assert result["reason"] == reason


async def test_content_takes_at_most_256_times_as_much_as_text(database: Database) -> None:
    """The statement for lean patches measures no text of a small content."""
    for value in (
        Decimal("1E-1000"),
        Decimal("1E+1000"),
        [Decimal("1E-999")] * 50,
        "\1" * 9,
        [None, False, "", {}, []],
    ):
        statement = Statement(
            "sizes", "SELECT octet_length(($1::jsonb)::text), pg_column_size($1::jsonb)", ("content",)
        )
        row = (await database.fetch(statement, {"content": to_text({"a": value, "": value})}))[0]
        assert row[0] <= 256 * row[1]


async def test_draft_saved_while_a_batch_waits_for_its_record_is_refreshed(races: Any) -> None:
    """The snapshot of the statement does not show the draft; that of with_drafts does."""
    await races.world.create("1", {"n": 1, "text": "x"})
    patch = Patch(COLLECTION, "1", change=Delta(to_text({"n": 2}), Strategy.SHALLOW))
    async with races.behind(races.holding.save("bob", change("1", {"text": "mine"}))):
        batch = await races.waiting(races.world.patch_all([patch]))
    await batch
    assert (await races.world.draft("bob", "1"))["merged"] == {"n": 2, "text": "mine"}
