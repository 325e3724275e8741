"""Group reads: GetContent calls that arrive while a statement is running share the next one (see batcher.py).

A read never joins a statement that was sent before the read arrived, so it sees every write that was answered before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..domain.records import Actor, Record
from ..domain.values import value_class
from ..store.content import ContentStore
from ..store.record_rows import shown
from .batcher import SIZE, Batcher, shared
from .lanes import Call


@value_class
class _Read:
    actor: Actor
    collection: str
    record_id: str
    show_deleted: bool


class ReadBatcher:
    """Reads records of one tenant in shared statements."""

    def __init__(self, content: ContentStore, size: int = SIZE, on_batch: Callable[[int], None] | None = None) -> None:
        """Create a batcher that reads from `content`. `on_batch` is called with the size of each group."""
        self._content = content
        self._groups: Batcher[_Read, Record] = Batcher(self._read, size, on_batch)

    async def get(self, actor: Actor, collection: str, record_id: str, *, show_deleted: bool) -> Record:
        """Return a record as ContentStore.get defines it."""
        read = _Read(actor, collection, record_id, show_deleted)
        return await self._groups.submit((actor.tenant_id,), object(), read)

    async def _read(self, calls: Sequence[Call[_Read, Record]]) -> None:
        reads = [call.item for call in calls]
        ids = [(read.collection, read.record_id) for read in reads]
        try:
            records = await shared(calls, self._content.find(reads[0].actor, ids))
        except Exception as error:  # nothing was written, and Database has already retried what is retryable
            for call in calls:
                call.fail(error)
            return
        for call, read, record in zip(calls, reads, records, strict=True):
            call.answer(partial(shown, record, read.collection, read.record_id, show_deleted=read.show_deleted))
