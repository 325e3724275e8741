"""Users, other systems and workers that fail, over one sync, and what must hold afterwards.

Every value is written once, so it is known from a value who wrote it and when.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from draftline_server.domain.edits import Strategy
from draftline_server.domain.errors import DraftlineError

from .sync_worlds import SyncWorld, until
from .tenant_stores import COLLECTION
from .upstream_toy import Faults, ToyUpstream

FIELDS = ("a", "b", "shared")
RECORDS = 12


@dataclass
class Findings:
    """The problems that were found, by kind."""

    problems: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, what: Any) -> None:
        self.problems[kind].append(what)

    def counts(self) -> dict[str, int]:
        return {kind: len(found) for kind, found in self.problems.items()}


class Simulation:
    """One run. `duration_s`: of the time with faults; `probability`: of each fault."""

    def __init__(
        self,
        world: SyncWorld,
        *,
        seed: int,
        duration_s: float,
        probability: float,
        workers: int = 2,
        settles: bool = True,
    ) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.duration_s = duration_s
        self.probability = probability
        self.workers = workers
        self.settles = settles  # the run must end with both sides alike; otherwise it is judged after a while
        self.written: dict[tuple[str, str], list[str]] = defaultdict(list)  # local values, in order
        self.kills = 0
        self.count = 0

    async def run(self) -> Findings:
        world = self.world
        world.system.random = random.Random(self.random.random())
        await world.bind(pull_interval_s=0)
        for index in range(RECORDS):
            world.system.insert({name: f"start-{index}-{name}" for name in FIELDS}, f"u{index:02}")
        await asyncio.sleep(world.system.lag_s)
        async with world.working():
            await until(self._is_linked)
        world.system.faults = Faults.all(self.probability)
        end = time.monotonic() + self.duration_s
        await asyncio.gather(
            *(self._user(end, f"user{number}") for number in range(2)),
            self._others(end),
            *(self._killed_worker(end) for _ in range(self.workers)),
        )
        world.system.faults = Faults()
        while world.system.pending:
            await asyncio.gather(*world.system.pending)
        async with world.working():
            await self._settle()
        return await self.judge()

    async def _settle(self) -> None:
        try:
            await until(self._is_calm, 60.0 if self.settles else 10.0)
        except AssertionError:
            if self.settles:
                raise AssertionError(f"both sides do not converge: {await self._open()}") from None

    async def _open(self) -> list[Any]:
        """Return the records that are not settled, and those that differ."""
        states = await self.world.states()
        shown = (
            "record_id",
            "remote_id",
            "state",
            "is_there",
            "recheck",
            "next_at",
            "op",
            "in_doubt",
            "tries",
            "error_text",
        )
        waiting = [{name: row[name] for name in shown} for row in states.values() if row["next_at"] is not None]
        return [waiting[:5], await self._differences(states)]

    async def _is_linked(self) -> bool:
        return len(await self.world.states()) >= RECORDS

    async def _is_calm(self) -> bool:
        """Return whether nothing is due, all that the upstream holds was read, and both sides agree where not held."""
        states = await self.world.states()
        if any(each["state"] in ("DUE", "SENDING") or each["next_at"] is not None for each in states.values()):
            return False
        return not await self._differences(states)

    async def _differences(self, states: dict[str, Any]) -> list[Any]:
        here = {row["record_id"]: row["content"] for row in await self.world.stored("record") if not row["deleted_at"]}
        remote_ids = {record_id: each["remote_id"] for record_id, each in states.items()}
        held = {record_id for record_id, each in states.items() if each["state"] == "HELD"}
        there = self.world.system.live()
        known = {remote_id: record_id for record_id, remote_id in remote_ids.items() if remote_id}
        missing = [key for key in there if key not in known]
        differing = [
            record_id for record_id, content in here.items()
            if record_id not in held and there.get(remote_ids.get(record_id) or "") != content
        ]  # fmt: skip
        undeleted = [key for key, record_id in known.items() if key in there and record_id not in {*here, *held}]
        return [*missing, *differing, *undeleted]

    # Actors

    def _value(self, who: str) -> str:
        self.count += 1
        return f"{who}-{self.count}"

    async def _user(self, end: float, user: str) -> None:
        while time.monotonic() < end:
            rows = await self.world.stored("record")
            live = [row["record_id"] for row in rows if not row["deleted_at"]]
            choice = self.random.random()
            if choice < 0.1 or not live:
                record_id, value = f"new-{self._value(user)}", self._value(user)
                self.written[record_id, "a"].append(value)
                await self.world.create(record_id, {"a": value}, user)
            elif choice < 0.13:
                await self._try(self.world.delete(self.random.choice(live), user))
            else:
                record_id, name = self.random.choice(live), self.random.choice(("a", "shared"))
                value = self._value(user)
                if await self._try(self.world.patch(record_id, {name: value}, Strategy.SHALLOW, user)):
                    self.written[record_id, name].append(value)
            await asyncio.sleep(self.random.uniform(0.0, 0.02))

    async def _try(self, call: Any) -> bool:
        try:
            await call
        except DraftlineError:
            return False
        return True

    async def _others(self, end: float) -> None:
        system = self.world.system
        while time.monotonic() < end:
            live = sorted(system.live())
            choice = self.random.random()
            if choice < 0.1:
                system.insert({"b": self._value("them")})
            elif choice < 0.13 and live:
                system.remove(self.random.choice(live))
            elif live:
                system.edit(self.random.choice(live), **{self.random.choice(("b", "shared")): self._value("them")})
            await asyncio.sleep(self.random.uniform(0.0, 0.03))

    async def _killed_worker(self, end: float) -> None:
        while time.monotonic() < end:
            task = asyncio.create_task(self.world.new_worker().run())
            await asyncio.wait({task}, timeout=self.random.uniform(0.1, 0.6))
            task.cancel()  # at whatever it is waiting for
            self.kills += 1
            await asyncio.gather(task, return_exceptions=True)

    # What must hold

    async def judge(self) -> Findings:
        found = Findings()
        states = await self.world.states()
        for each in await self._differences(states):
            found.add("different", each)
        self._judge_doubled(found)
        await self._judge_values(found, states)
        return found

    def _judge_doubled(self, found: Findings) -> None:
        rows = self.world.system.rows.values()
        for reference, count in Counter(row.reference for row in rows if row.reference and not row.deleted).items():
            if count > 1:
                found.add("doubled", reference)
        for each in self.world.system.overwritten:
            found.add("overwritten", each)
        for key, count in self.world.system.effects.items():
            if count > 1:
                found.add("doubled", key)

    async def _judge_values(self, found: Findings, states: dict[str, Any]) -> None:
        """Follow each field through the change log, and through the history of the upstream."""
        events = json.dumps([each["detail_text"] for each in await self.world.events()])
        events += json.dumps([each["conflict_text"] for each in states.values()])
        by_reference = {row.reference: key for key, row in self.world.system.rows.items() if row.reference}
        seen_here: set[str] = set()
        for change in await self.world.changes():
            record_id = change["record_id"]
            remote_id = by_reference.get(record_id, record_id)
            history = self.world.system.history.get(remote_id, [])
            edit, base = json.loads(change["edit"] or "{}"), json.loads(change["base"] or "{}")
            for name in FIELDS:
                old, new = base.get("s", {}).get(name), edit.get("s", {}).get(name)
                seen_here |= {str(old), str(new)}
                if change["source"] != "SYNC_PULL" or change["kind"] != "UPDATE" or old is None:
                    continue
                reached = _index(history, name, old)
                if reached is None and old in self.written.get((record_id, name), ()) and old not in events:
                    found.add("clobbered", (record_id, name, old, new))
                now = _index(history, name, new)
                if reached is not None and now is not None and now < reached:
                    found.add("reverted", (record_id, name, old, new))
        here = {row["record_id"]: row["content"] for row in await self.world.stored("record")}
        self._judge_lost(found, here, events, by_reference, states)
        self._judge_unseen(found, seen_here, events)

    def _judge_lost(
        self, found: Findings, here: dict[str, Any], events: str, by_reference: dict[str, str], states: dict[str, Any]
    ) -> None:
        """Find the last values of fields that are neither here nor there, nor in an event."""
        for (record_id, name), values in self.written.items():
            history = self.world.system.history.get(by_reference.get(record_id, record_id), [])
            state = states.get(record_id)
            is_held = state is not None and state["state"] == "HELD"
            is_kept = here.get(record_id, {}).get(name) == values[-1] and (
                is_held or not state or not state["is_there"]
            )
            if not is_kept and _index(history, name, values[-1]) is None and values[-1] not in events:
                found.add("lost", (record_id, name, values[-1]))

    def _judge_unseen(self, found: Findings, seen_here: set[str], events: str) -> None:
        for remote_id, history in self.world.system.history.items():
            for before, after in pairwise(history):
                for name in FIELDS:
                    old, new = str(before.get(name)), str(after.get(name))
                    is_ours = new.startswith("user") and old.startswith("them")
                    if is_ours and old not in seen_here and old not in events and not self._created_with(old):
                        found.add("unseen", (remote_id, name, old, new))

    def _created_with(self, value: str) -> bool:
        """Return whether the value came with a record that a pull created, whose content the log does not repeat."""
        return any(history and value in history[0].values() for history in self.world.system.history.values())


def _index(history: list[dict[str, Any]], name: str, value: Any) -> int | None:
    return next((index for index, document in enumerate(history) if document.get(name) == value), None)


__all__ = ["COLLECTION", "Findings", "Simulation", "ToyUpstream"]
