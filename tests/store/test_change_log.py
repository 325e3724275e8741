"""The log as it is listed: it tells every write, exactly, in order, and to its own tenant alone."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from change_strategies import IDS, ran, relaxed
from change_world import LoggedWorld, State, replayed, same_state
from draftline_server.domain.changes import Change
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def world(database: Any, tenant_id: str) -> LoggedWorld:
    return LoggedWorld(database, tenant_id)


async def histories(world: LoggedWorld) -> dict[str, list[Change]]:
    return {record_id: await world.history(record_id) for record_id in IDS}


def plain(change: Change) -> Any:
    """A change without what no two runs share."""
    return replace(
        change, created_at=datetime.min, commit_id=bool(change.commit_id),
        paths=[(path.path, *map(_value, (path.old_value, path.new_value))) for path in change.paths],
    )  # fmt: skip


def _value(text: str | None) -> Any:
    return text if text is None else ("value", json.loads(text))


@relaxed
@given(data=st.data())
async def test_replayed_changes_give_the_record_at_every_version(database: Any, data: st.DataObject) -> None:
    in_place, replacing = (
        LoggedWorld(database, f"tenant-{uuid.uuid4()}", partial_updates=partial_updates)
        for partial_updates in (True, False)
    )
    seen = await ran(data, in_place, replacing)
    logged = await histories(in_place)
    for record_id, changes_of_record in logged.items():
        versions = [each.version for each in changes_of_record]
        assert versions == list(range(1, max(seen[record_id], default=0) + 1))
        state: State | None = None
        for each in changes_of_record:
            state = replayed(state, each)
            if each.version in seen[record_id]:  # a step may write twice
                assert same_state(state, seen[record_id][each.version]), each
        if state is not None:
            assert each.version in seen[record_id]
    # Fetched, merged and replaced, the same is logged.
    for record_id, changes_of_record in (await histories(replacing)).items():
        assert list(map(plain, changes_of_record)) == list(map(plain, logged[record_id]))
