"""Group commit: patches that arrive while a statement is under way share the next one (see groups.py).

Patches of one record keep the order of their arrival, and one that fails takes no neighbour with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ..domain.changes import Write
from ..domain.errors import DatabaseUnavailableError, DeadlineExceededError, OverloadedError
from ..domain.records import Patch, PatchResult
from ..store.engine import Database
from ..store.patches import InPlacePatches, PatchEntry, result_of
from ..store.transaction import Transaction
from .groups import SIZE, Call, Groups, shared


@dataclass(eq=False, slots=True)
class _Patch:
    database: Database
    entry: PatchEntry

    @property
    def has_id(self) -> bool:
        return self.entry.write.actor.request is not None


_Calls = Sequence[Call[_Patch, PatchResult]]


class GroupCommit:
    """Applies single patches in groups, and several as they are; a PatchApplier around another."""

    def __init__(self, applier: InPlacePatches, size: int = SIZE, formed: Callable[[int], None] | None = None) -> None:
        """`formed`: called with the size of each group."""
        self._applier = applier
        self._groups = Groups(self._apply, size, formed)

    async def apply(
        self, runner: Database | Transaction, write: Write, patches: Sequence[Patch], *, keeps_answers: bool
    ) -> Sequence[PatchResult]:
        """See PatchApplier."""
        if isinstance(runner, Transaction) or len(patches) != 1:
            return await self._applier.apply(runner, write, patches, keeps_answers=keeps_answers)
        (patch,) = patches
        entry = self._applier.entry(write, patch, keeps_answers=keeps_answers)
        lane = (write.actor.tenant_id, patch.collection)
        return [await self._groups.join(lane, patch.record_id, _Patch(runner, entry))]

    async def _apply(self, group: _Calls) -> None:
        try:
            await self._apply_at_once(group)
        except (OverloadedError, DeadlineExceededError) as error:
            _fail(group, error)
        except DatabaseUnavailableError as error:
            # What became of the group is unknown. Who has a request id can try again: nothing happens twice.
            _fail([call for call in group if not call.entry.has_id], error)
            await self._apply_alone([call for call in group if call.entry.has_id])
        except Exception as error:
            if len(group) == 1:
                _fail(group, error)
            else:  # it was rolled back; whichever patch is to blame takes no neighbour with it
                await self._apply_alone(group)

    async def _apply_at_once(self, calls: _Calls) -> None:
        entries = [call.entry.entry for call in calls]
        rows = await shared(calls, self._applier.rows(calls[0].entry.database, entries))
        for call, entry, row in zip(calls, entries, rows, strict=True):
            call.answer(partial(result_of, entry, row))

    async def _apply_alone(self, group: _Calls) -> None:
        async def alone(call: Call[_Patch, PatchResult]) -> None:
            try:
                await self._apply_at_once([call])
            except Exception as error:
                call.fail(error)

        await asyncio.gather(*(alone(call) for call in group if call.is_awaited))


def _fail(calls: _Calls, error: Exception) -> None:
    for call in calls:
        call.fail(error)
