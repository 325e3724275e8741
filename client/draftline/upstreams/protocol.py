"""The interface that a connector implements."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from .records import Page, RemoteRecord
from .writes import Outcome, WriteItem


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """The guarantees of a system for one collection. Claim only what the system keeps under faults.

    Attributes:
        idempotency_keys_s: How long the system remembers an idempotency key, in seconds. While it does, a write that is
            sent again with the same key has no second effect. 0: it knows no keys.
        conditional_writes: A write with `expected_remote_version` is applied only to that version; otherwise the
            outcome is `Stale`.
        client_reference: The system stores `WriteItem.record_id` with a created record, returns it in
            `RemoteRecord.record_id`, and answers a second creation with it by `Exists`.
        ordered_versions: `remote_version` is a decimal integer that grows with every change of the record.
        returns_stored: `Applied.stored` holds the record as its own write stored it, and not one that was read after
            the write: Draftline takes it for the stored form of what it sent, and a write of others would be lost.
        changes: `changes` can be called.
        deletions_in_changes: `changes` returns deleted records, with `deleted` set.
        snapshots: `snapshot` can be called.
        lookups: `lookup` can be called.
        read_lag_s: Reads may return a state that is this old, in seconds. 0: reads return all earlier writes.
        max_batch: The largest number of items of one `write`. Draftline sends at most 1,000.
        atomic_batch: `write` with `atomic` applies all items or none.
    """

    idempotency_keys_s: float = 0.0
    conditional_writes: bool = False
    client_reference: bool = False
    ordered_versions: bool = False
    returns_stored: bool = False
    changes: bool = True
    deletions_in_changes: bool = False
    snapshots: bool = True
    lookups: bool = True
    read_lag_s: float = 0.0
    max_batch: int = 1
    atomic_batch: bool = False


class Upstream(Protocol):
    """The connection to one system for one tenant. Used from one event loop, by several tasks at the same time."""

    async def describe(self, collection: str) -> Capabilities:
        """Return what the system guarantees for a collection. Raises UpstreamError if it must be asked and fails."""
        ...

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        """Write at most `max_batch` items, of different records, and return one outcome for each, in their order.

        If the response is lost after the request may have been sent, the outcome is `Unknown`. An exception that is not
        an UpstreamError also counts as `Unknown` for every item. With `atomic`, all items are applied or none; needs
        `atomic_batch`. The outcome of an item that was not applied only because of another one is `Refused` with the
        reason ABORTED.

        Raises:
            ThrottledError, UnreachableError, UnauthorizedError, BatchRefusedError: nothing was applied by this request.
        """
        ...

    def changes(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
        """Read the records that changed after a cursor, up to now. A record may be returned more than once.

        None: from the beginning of what the system still lists.

        Raises:
            CursorExpiredError: the changes after the cursor are not available any more.
            ThrottledError, UnreachableError, UnauthorizedError: the read stopped. Pages that were yielded are valid.
        """
        ...

    def snapshot(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
        """Read all records that exist, or continue after the cursor of an earlier page. Raises like `changes`.

        A record that exists during the whole snapshot is returned. The snapshot is complete if the iterator ends
        without an error.
        """
        ...

    async def lookup(self, collection: str, remote_ids: Sequence[str]) -> Sequence[RemoteRecord]:
        """Return the current state of each id, in their order; with `deleted` if there is no such record.

        Raises like `changes`.
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
