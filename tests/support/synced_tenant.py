"""A tenant whose users, and other clients of its system of record, write at the same time."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

from draftline import AsyncClient, DraftEdit, SyncRecord
from draftline.errors import DraftlineError

from support.recorded_upstream import (
    FAMILY_FIELDS,
    FAMILY_SIZE,
    LocalWrites,
    LoggedValue,
    RecordedSystem,
    tidy,
)
from support.toy_upstream import grpc_endpoint, http_endpoint, toy

OURS, THEIRS = ("a", "b", "c"), ("c", "d", "e")  # fields that users and other clients write; both write `c`
SHARED = ("c",)
UNTIDY = 0.05  # of the values that users write, which the system stores without their final space
CREATED = 0.03  # of the writes create a record


class SyncedTenant:
    """A tenant, its collection, and its system of record. `is_contended`: both sides write one field of few records."""

    def __init__(
        self, name: str, address: str, seed: int, broken: frozenset[str], rates: Mapping[str, float], newest: int,
        *, is_contended: bool = False,
    ) -> None:  # fmt: skip
        self.name = name
        self.newest = newest
        self.is_contended = is_contended
        self._address = address
        self.client = AsyncClient(address, tenant_id=name, user="ada", timeout=20)
        self.system = RecordedSystem(dict(rates), seed, broken)
        self.running = toy.Running(self.system)
        self.writes = LocalWrites()
        self._random = random.Random(seed)
        self._numbers = count()
        self._records: list[str] = []

    def endpoint(self, number: int, *, by_commit: bool) -> dict[str, Any]:
        """Return the definition of the system: over gRPC, and for every second tenant over HTTP.

        `by_commit`: over gRPC, because the system has no atomic batches over HTTP.
        """
        fields = {"timeout_s": 5, "tenants": [self.name]}
        if number % 2 and not by_commit:
            return http_endpoint(self.running.http_port, **fields)
        return grpc_endpoint(self.running.grpc_port, **fields)

    async def edit(self, is_over: Callable[[], bool]) -> None:
        """Write as a user does, until it is over."""
        while not is_over():
            value, chance = f"u{next(self._numbers)}", self._random.random()
            records = self._records[-self.newest :]
            record_id = self._random.choice(records) if records and chance > CREATED else f"r-{value}"
            name = self._random.choice(SHARED if self.is_contended else OURS)
            sent = f"{value} " if self._random.random() < UNTIDY else value
            try:
                if record_id not in self._records:
                    record = await self.client.create_content("parts", {name: sent}, record_id=record_id)
                    self._records.append(record_id)
                    self.writes.created.add(record_id)
                    self.writes.acknowledged(record_id, name, value, record.version)
                elif chance > 0.99:
                    await self.client.delete_content("parts", record_id)
                    self.writes.deleted.add(record_id)
                else:
                    result = await self.client.patch_content("parts", record_id, {name: sent})
                    self.writes.acknowledged(record_id, name, value, result.record.version)
            except DraftlineError:
                self.writes.unknown.add(value)
                self.writes.deleted.add(record_id)  # it may be deleted, and is not examined for losses
            await asyncio.sleep(0.02)

    async def commit(self, is_over: Callable[[], bool]) -> None:
        """Write families of records as a user does, all records of one by each commit, until it is over."""
        families: list[str] = []
        async with AsyncClient(self._address, tenant_id=self.name, user=f"u{next(self._numbers)}", timeout=20) as user:
            while not is_over():
                value, is_new = f"u{next(self._numbers)}", not families or self._random.random() < CREATED
                family = f"f-{value}" if is_new else self._random.choice(families[-self.newest :])
                try:
                    await self._commit_family(user, family, value, is_new=is_new)
                    families += [family] * is_new
                except DraftlineError:
                    self.writes.unknown.add(value)
                    self.writes.deleted.update(members(family))  # not examined for losses
                    families = [each for each in families if each != family]
                    with suppress(DraftlineError):
                        await user.discard("parts", all=True)
                await asyncio.sleep(0.05)

    async def _commit_family(self, user: AsyncClient, family: str, value: str, *, is_new: bool) -> None:
        name = self._random.choice(FAMILY_FIELDS)
        self.writes.families |= dict.fromkeys(members(family), family)
        edits = [
            DraftEdit(each, create={name: value}) if is_new else DraftEdit(each, {name: value})
            for each in members(family)
        ]
        await user.save_drafts("parts", edits)
        for result in await user.commit("parts", record_ids=members(family)):
            record = result.record
            assert record is not None
            if is_new:
                self.writes.created.add(record.record_id)
            self.writes.acknowledged(record.record_id, name, value, record.version)

    async def disturb(self, is_over: Callable[[], bool]) -> None:
        """Write as other clients of the system do."""
        while not is_over():
            token = f"t{next(self._numbers)}"
            fields = SHARED if self.is_contended else THEIRS
            disturb = partial(self.system.disturb, only_edits=self.is_contended)
            await asyncio.to_thread(disturb, self._random, token, fields, self.newest)
            await asyncio.sleep(0.1)

    async def decide(self, is_over: Callable[[], bool]) -> None:
        """Decide conflicts as a person does who prefers the values of the system, until it is over."""
        while not is_over():
            with suppress(DraftlineError):
                async for each in self.client.list_sync_records("parts", state="sync_error"):
                    await self._take_theirs(each)
            await asyncio.sleep(2.0)

    async def _take_theirs(self, found: SyncRecord) -> None:
        for conflict in found.sync.conflicts:
            # The value that the list shows. A decision at this version must not replace another one.
            self.writes.decided.add((found.record_id, conflict.path[1:], str(tidy(conflict.mine))))
            if not conflict.path:
                self.writes.deleted.add(found.record_id)
                self.writes.replaced.add(found.record_id)
        if found.sync.conflicts:
            theirs = [conflict.path for conflict in found.sync.conflicts]
            with suppress(DraftlineError):  # it was settled, or the record was changed
                await self.client.resolve_sync("parts", found.record_id, theirs=theirs, expected_version=found.version)

    async def converge(self, patience_s: float) -> None:
        """End the faults, decide every conflict for the values here, and wait until both sides are equal."""
        self.system.rates = {}
        self.system.undecided = len(self.system.history)
        await self.client.resume_sync("toy")
        deadline = time.monotonic() + patience_s
        while True:
            await self._decide()
            await self.client.run_sync("toy", "changes")
            if await self._is_equal():
                return
            if time.monotonic() > deadline:
                return  # `problems` says how they differ
            await asyncio.sleep(1.0)

    async def _decide(self) -> None:
        await self.client.retry_sync("parts", all=True)
        async for each in self.client.list_sync_records("parts", state="sync_error"):
            if each.sync.conflicts:
                with suppress(DraftlineError):  # it was settled meanwhile
                    mine = [conflict.path for conflict in each.sync.conflicts]
                    await self.client.resolve_sync("parts", each.record_id, mine=mine)

    async def _is_equal(self) -> bool:
        status = await self.client.get_sync_status("toy")
        remote = {part.reference or part.id: part.content for part in self.system.living()}
        return status.is_settled and not status.conflicts and not status.failed and await self.content() == remote

    async def content(self) -> dict[str, dict[str, Any]]:
        return {each.record.record_id: dict(each.record.content) async for each in self.client.get_merged("parts")}

    async def log(self) -> list[LoggedValue]:
        return [
            LoggedValue(
                change.record_id,
                path.path[1:],
                tidy(path.old_value),
                tidy(path.new_value),
                "sync" in change.source.value,
                change.version,
            )
            async for change in self.client.changes("parts")
            for path in change.paths
        ]

    async def close(self) -> None:
        self.running.stop()
        await self.client.close()


def members(family: str) -> list[str]:
    return [f"{family}.{number}" for number in range(FAMILY_SIZE)]
