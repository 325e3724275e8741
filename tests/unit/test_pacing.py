"""Long work pauses for others."""

from __future__ import annotations

import asyncio

import pytest
from draftline_server.rpc import cooperative as pacing
from draftline_server.rpc.cooperative import yielding


@pytest.mark.parametrize(("hold_s", "turns"), [(0.0, [0, 1, 2]), (3600.0, [0, 0, 0])])
async def test_others_have_their_turn_between_items_that_take_long(
    monkeypatch: pytest.MonkeyPatch, hold_s: float, turns: list[int]
) -> None:
    monkeypatch.setattr(pacing, "MAX_SLICE_S", hold_s)
    taken = 0

    async def other() -> None:
        nonlocal taken
        while True:
            await asyncio.sleep(0)
            taken += 1

    task = asyncio.create_task(other())
    await asyncio.sleep(0)
    seen = [(item, taken) async for item in yielding("abc")]
    task.cancel()
    assert seen == list(zip("abc", turns, strict=True))
