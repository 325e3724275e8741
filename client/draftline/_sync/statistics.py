# Generated from draftline/_async/statistics.py by `make generate`; never edited.
"""The statistics of DraftService."""

from __future__ import annotations

from collections.abc import Iterable

from draftline._core import statistic_calls
from draftline._sync.transport import Transport
from draftline.models import UNSET, StatisticCondition, StatisticKey, StatisticOrder, Statistics, Unset


class StatisticsMethods(Transport):
    def statistics(
        self,
        collection: str,
        *,
        measures: Iterable[str] = ("count",),
        group_by: Iterable[StatisticKey | str] = (),
        filter: str = "",
        order_by: Iterable[StatisticOrder | str] = (),
        having: Iterable[StatisticCondition] = (),
        limit: int = 0,
        allow_scan: bool = False,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Statistics:
        """Return exact counts, sums and so on of groups of records, with and without the caller's drafts.

            client.put_collection(
                "movies",
                fields={"/Major Genre": "text", "/Worldwide Gross": "number"},
                statistics=[DeclaredStatistic("gross", ("/Major Genre",), ("/Worldwide Gross",))],
            )
            found = client.statistics(
                "movies",
                measures=["count", "sum(/Worldwide Gross)"],
                group_by=["/Major Genre"],
                order_by=["sum(/Worldwide Gross) desc"],
            )
            for each in found.groups:
                print(each.keys["/Major Genre"], each.merged["sum(/Worldwide Gross)"])

        The baseline, the merged view and their difference are of one moment. The statistic that
        covers the query must be declared by `put_collection`, and takes milliseconds.

        Args:
            measures: "count" (records), or a function of a field: "count(/Gross)", "sum(/Gross)", "avg(/Gross)",
                "min(/Title)", "max(/Title)" or "count_distinct(/Title)"; at most 16.
            group_by: paths of declared fields, at most 3; a date as "year(/Released)", "month(…)" or "day(…)".
                Empty: one group of all records.
            filter: only records that match (AIP-160), by comparisons of declared fields.
            order_by: measures and group keys as they are written above, with " desc" for the descending order of
                merged values; `StatisticOrder` can sort by another side.
            having: conditions that a group must satisfy, all of them.
            limit: the maximum number of groups; 0: 1,000; at most 10,000.
            allow_scan: reads all records if no statistic covers the query, which may be slow.

        Raises:
            FailedPreconditionError: no statistic that is ready covers the query (STATISTIC_NOT_READY); the
                error's metadata has the one to declare.
            InvalidArgumentError: a field is not declared, or has the wrong type.
            InvalidFilterError: the filter does not parse, or uses what a statistic cannot compare.
        """
        call = statistic_calls.get_statistics(
            self._tenant(tenant_id),
            collection,
            measures=measures,
            group_by=group_by,
            filter=filter,
            order_by=order_by,
            having=having,
            limit=limit,
            allow_scan=allow_scan,
        )
        return self._call(call, timeout)
