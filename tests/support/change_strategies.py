"""Strategies for histories of two records: every kind of write, most of which succeed."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from draftline_server.domain.drafts import ConflictPolicy
from draftline_server.domain.errors import DraftlineError
from draftline_server.domain.records import Delta, ImportMode, NewRecord, Operations, Patch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from support.edit_strategies import changes, contents, to_text
from support.soak_scale import examples
from support.tenant_changes import LoggedWorld, State
from support.tenant_stores import COLLECTION, change, creation, deletion, operate

IDS = ["1", "2"]
STEPS = 10
Step = Callable[[LoggedWorld], Awaitable[Any]]


# So that there is something to edit at every depth.
nested = contents.map(
    lambda drawn: {"a": {"b": {"c": 1, "a": [1, {"b": 2}]}, "c": {}}, "b": {"a": "x"}, "c": 1} | drawn
)


def writes(state: State | None) -> list[str]:
    """Return the kinds of write that can succeed for a record."""
    if state is None:
        return ["create", "create", "batch", "import", "commit"]
    if state[1]:
        return ["undelete", "undelete", "import", "commit", "patch"]
    return ["patch", "patch", "patch", "batch", "import", "commit", "commit", "delete"]


@st.composite
def steps(draw: st.DrawFn, states: dict[str, State]) -> Step:
    """Draw a write of one or both records."""
    record_id = draw(st.sampled_from(IDS))
    content = states[record_id][0] if record_id in states else {}
    parent_id, position = draw(st.sampled_from([None, "p", "q", ""])), draw(st.sampled_from([None, 1, -(2**63)]))
    match draw(st.sampled_from(writes(states.get(record_id)))):
        case "create":
            new = NewRecord(COLLECTION, record_id, to_text(draw(nested)), parent_id or None, position)
            return lambda world: world.content.create(world.actor("sys"), new, change_reason="r", validate_only=False)
        case "patch":
            return patching(record_id, draw(st.none() | changes(content)), parent_id, position)
        case "batch":
            some = [
                Patch(COLLECTION, each, draw(changes(states[each][0] if each in states else {})), allow_missing=True)
                for each in IDS
            ]
            return lambda world: world.patch_all(some, partial=True)
        case "delete":
            return lambda world: world.delete(record_id)
        case "undelete":
            return lambda world: world.undelete(record_id)
        case "import":
            mode, text = draw(st.sampled_from(list(ImportMode))), to_text(draw(nested))
            return lambda world: world.load({record_id: json.loads(text)}, mode)
    return draw(commits(record_id, content))


@st.composite
def commits(draw: st.DrawFn, record_id: str, content: Any) -> Step:
    """Draw a draft, an optional patch of the record after it, and the commit of the draft."""
    edits = [deletion(record_id), creation(record_id, json.loads(to_text(draw(nested))))]
    match draw(changes(content)):
        case Operations(operations):
            edits += [operate(record_id, *(each for each in operations if each.op != "test"))] * 3
        case Delta(text, strategy, depth):
            edits += [change(record_id, json.loads(text), strategy, depth)] * 3
    edit, policy = draw(st.sampled_from(edits)), draw(st.sampled_from(list(ConflictPolicy)))
    meanwhile = draw(st.none() | changes(content))

    async def commit(world: LoggedWorld) -> None:
        await world.save_all("ada", [edit], partial=True, session_id="s")
        await tried(world, patching(record_id, meanwhile, None, None))
        await world.commit("ada", policy=policy, allow_partial=True)

    return commit


def patching(record_id: str, edit: Any, parent_id: str | None, position: int | None) -> Step:
    patch = Patch(COLLECTION, record_id, edit, parent_id=parent_id, position=position)
    return lambda world: world.patches.patch(world.actor("bob"), patch, change_reason="", validate_only=False)


async def tried(world: LoggedWorld, step: Step) -> None:
    """Run a step that may be rejected."""
    with suppress(DraftlineError):
        await step(world)


relaxed = settings(
    max_examples=examples(25),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


async def ran(data: st.DataObject, *worlds: LoggedWorld) -> dict[str, dict[int, State]]:
    """Run steps in each world; return the state of every record of the first world at each version."""
    seen: dict[str, dict[int, State]] = {record_id: {} for record_id in IDS}
    for _ in range(STEPS):
        step = data.draw(steps(await worlds[0].states()))
        for world in worlds:
            await tried(world, step)
        for row in await worlds[0].stored("record"):
            state = (await worlds[0].states())[row["record_id"]]
            seen[row["record_id"]].setdefault(row["version"], state)
    return seen
