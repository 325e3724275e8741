"""Group reads: GetContent calls that arrive while a statement is under way share the next one (see groups.py).

A read never joins a statement that was sent before it came, so it sees whatever was answered before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..domain.records import Actor, Record
from ..domain.values import value_class
from ..store.content import ContentStore, shown
from .batcher import SIZE, Batcher, Call, shared


@value_class
class _Read:
    actor: Actor
    collection: str
    record_id: str
    show_deleted: bool


class ReadBatcher:
    """Reads records of one tenant together."""

    def __init__(self, content: ContentStore, size: int = SIZE, formed: Callable[[int], None] | None = None) -> None:
        """`formed`: called with the size of each group."""
        self._content = content
        self._groups: Batcher[_Read, Record] = Batcher(self._read, size, formed)

    async def get(self, actor: Actor, collection: str, record_id: str, *, show_deleted: bool) -> Record:
        """See ContentStore.get."""
        read = _Read(actor, collection, record_id, show_deleted)
        return await self._groups.join((actor.tenant_id,), object(), read)

    async def _read(self, calls: Sequence[Call[_Read, Record]]) -> None:
        reads = [call.entry for call in calls]
        ids = [(read.collection, read.record_id) for read in reads]
        try:
            found = await shared(calls, self._content.find(reads[0].actor, ids))
        except Exception as error:  # nothing was written: what is worth another try was tried again
            for call in calls:
                call.fail(error)
            return
        for call, read, record in zip(calls, reads, found, strict=True):
            call.answer(partial(shown, record, read.collection, read.record_id, show_deleted=read.show_deleted))
