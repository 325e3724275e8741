"""The writes and reads of the tests of a connector."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from draftline.upstreams import (
    Applied,
    Capabilities,
    Create,
    Outcome,
    Page,
    RemoteRecord,
    Upstream,
    Write,
    WriteItem,
)

PATIENCE_S = 10.0


class System:
    """Writes and reads of a test."""

    def __init__(self, upstream: Upstream, collection: str, capabilities: Capabilities) -> None:
        self.upstream = upstream
        self.capabilities = capabilities
        self.batch = capabilities.max_batch
        self._collection = collection

    def item(
        self, write: Write, remote_id: str = "", expected: str | None = None, record_id: str | None = None
    ) -> WriteItem:
        """Return an item with a new key, and a new record id unless one is given."""
        return WriteItem(
            idempotency_key=str(uuid.uuid4()),
            record_id=record_id or f"conformance-{uuid.uuid4()}",
            write=write,
            remote_id=remote_id,
            expected_remote_version=expected,
        )

    def repeated(self, item: WriteItem) -> WriteItem:
        """Return the same item, as it is sent again."""
        return WriteItem(**{**{name: getattr(item, name) for name in item.__dataclass_fields__}, "repeat": True})

    async def write(self, write: Write, remote_id: str, expected: str | None = None) -> Outcome:
        """Send one item, and return its outcome."""
        (outcome,) = await self.upstream.write(self._collection, [self.item(write, remote_id, expected)])
        return outcome

    async def send(self, items: list[WriteItem], start: int) -> list[Outcome]:
        """Send as many items as a batch may have. `start` is the position of the first one, for messages."""
        outcomes = list(await self.upstream.write(self._collection, items[: self.batch]))
        assert len(outcomes) == len(items[: self.batch]), f"wrong number of outcomes from item {start}"
        return outcomes

    async def create(self, document: Mapping[str, Any]) -> Applied:
        """Create a record."""
        (outcome,) = await self.upstream.write(self._collection, [self.item(Create(document))])
        assert isinstance(outcome, Applied), outcome
        return outcome

    async def find(self, remote_id: str) -> RemoteRecord:
        """Return a record once reads return it."""
        found: list[RemoteRecord] = []

        async def is_there() -> bool:
            found[:] = await self.upstream.lookup(self._collection, [remote_id])
            return not found[0].deleted

        await self.until(is_there)
        return found[0]

    async def expect(self, remote_id: str, document: Mapping[str, Any]) -> None:
        """Wait until reads return a document."""
        seen: list[Any] = []

        async def is_so() -> bool:
            (record,) = await self.upstream.lookup(self._collection, [remote_id])
            seen[:] = [record.document]
            return record.document == document

        try:
            await self.until(is_so)
        except TimeoutError:
            raise AssertionError(f"expected {document!r}, the system has {seen[0]!r}") from None

    async def is_deleted(self, remote_id: str) -> bool:
        """Return whether reads return the record as deleted."""
        (record,) = await self.upstream.lookup(self._collection, [remote_id])
        return record.deleted

    async def read(self, pages: AsyncIterator[Page]) -> tuple[dict[str, RemoteRecord], str | None]:
        """Return the last state of each record of a read, and its cursor."""
        seen: dict[str, RemoteRecord] = {}
        cursor: str | None = None
        async for page in pages:
            seen |= {each.remote_id: each for each in page.records}
            cursor = page.cursor
        return seen, cursor

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait until a condition holds: at once if reads do not lag. Raise TimeoutError if it does not."""
        lag_s = self.capabilities.read_lag_s
        deadline = time.monotonic() + (lag_s + PATIENCE_S if lag_s else 0)
        while not await condition():
            if time.monotonic() >= deadline:
                raise TimeoutError("reads do not return what was written")
            await asyncio.sleep(0.05)
