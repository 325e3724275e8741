"""Reads of related records: of small ones by a statement that need not count their bytes, which is faster."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from time import monotonic

from ..database import Database
from ..lists.branches import ListQueryKey, RelationKind
from .related_rows import RelatedRow, are_small, ids_in, related_statement

REMEMBERED, REMEMBERED_S = 4096, 60.0


class RelatedReads:
    """Reads related records.

    If those of a collection were not small, they are not taken for small again for a minute.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._large: OrderedDict[tuple[object, ...], float] = OrderedDict()  # when they were read; oldest first

    async def read(
        self, shape: ListQueryKey, values: Mapping[str, object]
    ) -> tuple[Sequence[list[str]], Sequence[RelatedRow]]:
        """Return the ids of related records for each target, unless they are NAMED, and the rows of the records.

        Rows are returned until their contents exceed `max_bytes`, including the row that does.
        """
        key = values["tenant_id"], values["collection"], shape.key_count
        if monotonic() > self._large.get(key, float("-inf")) + REMEMBERED_S:
            found, rows = await self._fetch(shape, values, only_small=True)
            if are_small(rows):
                return found, rows
            self._large[key] = monotonic()
            self._large.move_to_end(key)
            if len(self._large) > REMEMBERED:
                self._large.popitem(last=False)
        return await self._fetch(shape, values, only_small=False)

    async def _fetch(
        self, shape: ListQueryKey, values: Mapping[str, object], *, only_small: bool
    ) -> tuple[Sequence[list[str]], Sequence[RelatedRow]]:
        statement, fixed = related_statement(shape, only_small=only_small)
        rows = await self._database.fetch(statement, {**fixed, **values}, idempotent=True)
        return ((), rows) if shape.related is RelationKind.NAMED else (ids_in(rows[0]), rows[1:])
