"""The range of entries for a list, chosen by counting where the query alone does not tell.

A list can be read in its order, until enough records satisfy the filter, or a range of another order can be read whole
and sorted. The second is better only if the range is small. So the entries of such ranges are counted first, by an
index-only scan that stops at MAX_SORTED_ENTRIES.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...domain.merged import View
from ..database import Database
from .entries import EntryRange, choose, ranges_for
from .listing import Listing
from .order import OrderKey
from .query import range_sizes_statement

# Reading and sorting so many takes a few times as long as a page. If a larger range has records all over the order, one
# in 200 of a million satisfies the filter, and a page of 100 is full after 20,000.
MAX_SORTED_ENTRIES = 5_000


class EntryRanges:
    """Chooses ranges of entries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def for_page(self, listing: Listing) -> EntryRange | None:
        """Return the range to read a page from; None to read it from the tables."""
        choice = choose(_ranges(listing, listing.shape.order))
        # The primary key has the order of a list without sort keys.
        has_order = choice.in_order is not None or not listing.shape.order
        if not choice.narrow or (listing.query.view is View.DRAFTS_ONLY and has_order):
            return choice.in_order
        if len(choice.narrow) == 1 and not has_order:
            return choice.narrow[0]
        size, smallest = await self._smallest(listing, choice.narrow)
        return choice.in_order if has_order and size > MAX_SORTED_ENTRIES else smallest

    async def for_count(self, listing: Listing) -> EntryRange | None:
        """Return the range to count a list in; None to count it in the tables."""
        choice = choose(_ranges(listing, ()))
        ranges = [*([choice.in_order] if choice.in_order else []), *choice.narrow]
        if len(ranges) < 2:
            return ranges[0] if ranges else None
        return (await self._smallest(listing, ranges))[1]

    @staticmethod
    def has_declared_order(listing: Listing) -> bool:
        """Return whether a declared order has the order of the list, whether its entries are complete or not."""
        declared = dict.fromkeys(listing.spec.indexes(), 0)
        return any(each.is_sorted for each in ranges_for(declared, listing.condition, listing.shape.order, ()))

    async def _smallest(self, listing: Listing, ranges: Sequence[EntryRange]) -> tuple[int, EntryRange]:
        """Return the smallest range and its size, which is counted up to one more than MAX_SORTED_ENTRIES."""
        statement, fixed = range_sizes_statement(len(ranges))
        values: dict[str, object] = {
            **fixed, "tenant_id": listing.actor.tenant_id, "collection": listing.query.collection,
            "limit": MAX_SORTED_ENTRIES + 1,
        }  # fmt: skip
        for index, each in enumerate(ranges):
            values |= {f"order_id_{index}": each.order_id}
            values |= {f"low_{index}": each.keys.low, f"high_{index}": each.keys.high}
        row = (await self._database.fetch(statement, values, idempotent=True))[0]
        return min(((row[f"size_{index}"], each) for index, each in enumerate(ranges)), key=lambda pair: pair[0])


def _ranges(listing: Listing, sort: Sequence[OrderKey]) -> list[EntryRange]:
    if listing.query.record_ids or listing.has_deleted:  # deleted records have no entries
        return []
    return ranges_for(listing.spec.ready_orders, listing.condition, sort, listing.names)
