"""The ratios between figures of one run, and their targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import (
    declare,
    drafts,
    imports,
    merged,
    partitions,
    patches,
    reference_imports,
    relations,
    statistic_reads,
    statistic_writes,
    stream,
    sync,
    sync_cost,
    workers,
)
from .measurements import Measurements
from .patches import at
from .sizes import Part, Sizes

Compute = Callable[[Measurements, Sizes], float]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio and its target; `compute` returns it from the figures of a run of these sizes."""

    part: Part
    name: str
    description: str
    compute: Compute
    at_least: float | None = None
    at_most: float | None = None

    @property
    def target(self) -> str:
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        return ", ".join(f"{words} {bound:g}" for words, bound in bounds if bound is not None)

    def is_met(self, value: float) -> bool:
        low, high = self.at_least, self.at_most
        return (low is None or value >= low) and (high is None or value <= high)


def ratios_of(measurements: Measurements, sizes: Sizes, parts: tuple[Part, ...]) -> Iterator[tuple[Ratio, float]]:
    """Yield each ratio of these parts with its value."""
    for ratio in RATIOS:
        if ratio.part in parts:
            yield ratio, ratio.compute(measurements, sizes)


def _top(numerator: str, denominator: str) -> Compute:
    """Return a function for the ratio of two rates, both with the most calls in flight."""
    return lambda it, sizes: it.value(at(numerator, sizes.top)) / it.value(at(denominator, sizes.top))


def _values(numerator: str, denominator: str) -> Compute:
    return lambda it, _: it.value(numerator) / it.value(denominator)


def _value(name: str) -> Compute:
    return lambda it, _: it.value(name)


def _latency_against_baseline(it: Measurements, _: Sizes) -> float:
    least_ms = it.latency_ms(at(patches.EMPTY, 1)) + it.latency_ms(patches.BARE)
    return it.latency_ms(at(patches.PATCH, 1)) / least_ms


def _latency_gain(it: Measurements, _: Sizes) -> float:
    return 1 - it.latency_ms(at(patches.PATCH, 1)) / it.latency_ms(at(patches.REPLACING, 1))


def _page(it: Measurements, sizes: Sizes) -> float:
    """Return the time of a page of the longest list, for the user with the most drafts."""
    return it.value(merged.page_of(sizes.records, max(sizes.own_drafts)))


def _flat_in_drafts(it: Measurements, sizes: Sizes) -> float:
    return _page(it, sizes) / it.value(merged.page_of(sizes.records, min(sizes.own_drafts)))


def _flat_in_size(it: Measurements, sizes: Sizes) -> float:
    return _page(it, sizes) / it.value(merged.page_of(sizes.lengths[0], max(sizes.own_drafts)))


def _statistics_read(it: Measurements, sizes: Sizes) -> float:
    return it.value(statistic_reads.read_of(sizes.records, max(sizes.own_drafts)))


def _with_statistics(kind: str, count: str) -> Compute:
    return _values(statistic_writes.of(kind, count), statistic_writes.of(kind, "none"))


def _partitioned(part: str, name: str, words: str, layout: str, **target: float) -> Ratio:
    return Ratio(
        Part.PARTITIONS, f"partitions_{part}", f"{words} on partitioned tables ({layout}) against plain ones",
        _values(partitions.of(name, layout), partitions.of(name, partitions.PLAIN)), **target,
    )  # fmt: skip


def _partition_ratios() -> Iterator[Ratio]:
    """Yield the ratios of each partitioned layout to plain tables, and those of a switchover."""
    for short, layout in (("hash", partitions.HASH), ("list", partitions.LIST)):
        for part, name, words, at_most in (
            ("patch64", partitions.PATCH, "BatchPatchContent of 64 records", 1.1),
            ("page", partitions.FIRST_PAGE, "GetMerged of a first page", 1.1),
            ("next_page", partitions.NEXT_PAGE, "GetMerged of a next page", 1.1),
            ("import_new", partitions.IMPORT_NEW, "ImportContent of 10,000 new records", 1.1),
            ("import_changed", partitions.IMPORT_CHANGED, "ImportContent of 10,000 changed records", 1.1),
            ("get", partitions.GET, "GetContent", 1.8),
        ):
            yield _partitioned(f"{short}_{part}", name, words, layout, at_most=at_most)
        yield _partitioned(f"{short}_patches", partitions.RATE, "PatchContent a second", layout, at_least=0.9)
        yield Ratio(
            Part.PARTITIONS, f"partitions_{short}_first_plan_ms", f"the first GetMerged of a connection ({layout}), ms",
            _value(partitions.of(partitions.PLANNED, layout)), at_most=100,
        )  # fmt: skip
    yield Ratio(
        Part.PARTITIONS, "switchover_patch64", "BatchPatchContent of 64 records in a switchover against without",
        _values(partitions.of(partitions.PATCH, partitions.SYNCED), partitions.of(partitions.PATCH, partitions.PLAIN)),
        at_most=1.3,
    )  # fmt: skip


RATIOS = (
    *_partition_ratios(),
    Ratio(Part.PATCHES, "patch_vs_empty_rpc", "PatchContent against the empty rpc, calls a second",
          _top(patches.PATCH, patches.EMPTY), at_least=0.65),
    Ratio(Part.PATCHES, "patch_grouped_vs_single", "the same against one statement per call",
          _top(patches.PATCH, patches.SINGLE), at_least=2),
    Ratio(Part.PATCHES, "patch_ids_vs_none", "the same against patches without request ids",
          _top(patches.PATCH, patches.NO_REQUEST_ID)),
    Ratio(Part.PATCHES, "patch_hot_vs_single", "PatchContent of one record against one statement per call, any records",
          _top(patches.ONE_RECORD, patches.SINGLE), at_least=1.5),
    Ratio(Part.PATCHES, "patch_undeclared_vs_declared", "PatchContent against the same of a declared field",
          _top(patches.PATCH, patches.DECLARED_FIELD), at_most=1.5),
    Ratio(Part.PATCHES, "patch_postgres_us", "processor time of PostgreSQL for a PatchContent, microseconds",
          lambda it, sizes: it.value(f"PostgreSQL CPU, {at(patches.PATCH, sizes.top)}")),
    Ratio(Part.PATCHES, "patch_group_postgres_us", "the same in statements of 64 that run alone",
          _value(patches.GROUP_CPU), at_most=100),
    Ratio(Part.PATCHES, "patch_latency_vs_bare", "PatchContent alone against the empty rpc and its statement",
          _latency_against_baseline, at_most=1.4),
    Ratio(Part.PATCHES, "partial_update_latency_gain", "partial updates on against off: latency lower by",
          _latency_gain, at_least=0.3),
    Ratio(Part.PATCHES, "partial_update_statement_gain", "partial updates on against off: statements fewer by",
          lambda it, _: 1 - it.value(patches.STATEMENTS) / it.value(patches.STATEMENTS_REPLACING), at_least=0.5),
    Ratio(Part.PATCHES, "batch_rows_vs_pgbench", "BatchPatchContent of 100 against pgbench, rows a second",
          _values(patches.BATCH, patches.PGBENCH), at_least=2),
    Ratio(Part.PATCHES, "stream_rows_vs_empty_rpc", "patches through one StreamPatches against empty rpcs, a second",
          lambda it, sizes: it.value(patches.STREAM) / it.value(at(patches.EMPTY, sizes.top)), at_least=1.5),
    Ratio(Part.MERGED, "merged_sql_vs_plain", "a merged page against the plain indexed read, SQL alone",
          _values(merged.MERGED_SQL, merged.PLAIN_SQL), at_most=4),
    Ratio(Part.MERGED, "merged_page1000_vs_page1", "GetMerged deep in the list against its first page",
          lambda it, sizes: it.value(merged.DEEP) / _page(it, sizes), at_most=1.2),
    Ratio(Part.MERGED, "merged_drafts5000_vs_0", "GetMerged with many drafts against none",
          _flat_in_drafts, at_most=1.2),
    Ratio(Part.MERGED, "merged_1m_vs_10k", "GetMerged of the longest list against the shortest",
          _flat_in_size, at_most=1.2),
    Ratio(Part.MERGED, "merged_call_vs_bare", "GetMerged against the empty rpc and its SQL",
          lambda it, sizes: _page(it, sizes) / (it.value(merged.EMPTY_ALONE) + it.value(merged.MERGED_SQL)),
          at_most=2),
    Ratio(Part.MERGED, "save_draft_vs_insert", "SaveDraft of 1,000 against an INSERT with entries, rows a second",
          _values(drafts.SAVE, drafts.INSERT), at_least=0.5),
    Ratio(Part.MERGED, "save_draft_vs_rows", "the same against an INSERT of the drafts alone",
          _values(drafts.SAVE, drafts.INSERT_ROWS)),
    Ratio(Part.MERGED, "commit_vs_update", "Commit of 1,000 against an UPDATE with entries, rows a second",
          _values(drafts.COMMIT, drafts.UPDATE), at_least=0.5),
    Ratio(Part.MERGED, "commit_vs_rows", "the same against an UPDATE of the records alone",
          _values(drafts.COMMIT, drafts.UPDATE_ROWS)),
    Ratio(Part.DECLARE, "declare_vs_create_index", "declaring fields of a long list against CREATE INDEX CONCURRENTLY",
          _values(declare.DECLARE, declare.CREATE_INDEX), at_most=3),
    Ratio(Part.DECLARE, "declare_patch_p99", "p99 of PatchContent alone while fields are declared, against before",
          lambda it, _: it.latency_ms(declare.PATCH_MEANWHILE, 99) / it.latency_ms(declare.PATCH_BEFORE, 99),
          at_most=2),
    Ratio(Part.IMPORTS, "import_vs_copy", "ImportContent against COPY of records and entries, records a second",
          _values(imports.IMPORT, imports.COPY), at_least=0.5),
    Ratio(Part.MERGED, "stream_memory_mb", "StreamMerged of the whole list: the server's memory above idle, MiB",
          lambda it, _: it.value(stream.MEMORY), at_most=100),
    Ratio(Part.RELATIONS, "expand_one_vs_page", "GetMerged of 100 records with a related one each, against without",
          _values(relations.FILMS_WITH_MAKER, relations.FILMS_ALONE), at_most=2),
    Ratio(Part.RELATIONS, "expand_ten_vs_page", "GetMerged of 100 records with ten of an inverse each, against without",
          _values(relations.MAKERS_WITH_FILMS, relations.MAKERS_ALONE), at_most=4),
    Ratio(Part.RELATIONS, "expand_ten_titles_vs_page", "the same with one field of each related record",
          _values(relations.MAKERS_WITH_TITLES, relations.MAKERS_ALONE)),
    Ratio(Part.RELATIONS, "expand_ten_shared_vs_page", "the same with ten each that the records share",
          _values(relations.MAKERS_WITH_PARTNERS, relations.MAKERS_ALONE), at_most=4),
    Ratio(Part.RELATIONS, "import_checked_vs_unchecked", "imports with a checked relation against an unchecked one",
          _values(reference_imports.CHECKED, reference_imports.UNCHECKED), at_least=0.5),
    Ratio(Part.STATISTICS, "statistics_ms", "GetStatistics, two sums of 13 groups with many own drafts, milliseconds",
          _statistics_read, at_most=10),
    Ratio(Part.STATISTICS, "statistics_1m_vs_10k", "the same of the longest collection against the shortest",
          lambda it, sizes: _statistics_read(it, sizes) / it.value(
              statistic_reads.read_of(sizes.lengths[0], max(sizes.own_drafts))), at_most=1.3),
    Ratio(Part.STATISTICS, "statistics_10k_rows_ms", "GetStatistics over 9,603 group rows, milliseconds",
          lambda it, _: it.value(statistic_reads.SHELF), at_most=15),
    Ratio(Part.STATISTICS, "statistics_10k_groups_ms", "GetStatistics that returns 9,604 groups, milliseconds",
          lambda it, _: it.value(statistic_reads.GROUPS)),
    Ratio(Part.STATISTICS, "statistics_range_ms", "GetStatistics of a range of a number, milliseconds",
          lambda it, _: it.value(statistic_reads.RANGES)),
    Ratio(Part.STATISTICS, "statistics_live_vs_tally", "the live aggregate against GetStatistics, time",
          lambda it, sizes: it.value(statistic_reads.LIVE) / _statistics_read(it, sizes)),
    Ratio(Part.STATISTICS, "statistics_old_snapshot_ms", "GetStatistics after a fold, with an old snapshot: ms more",
          lambda it, _: it.value(statistic_reads.AFTER_FOLD) - it.value(statistic_reads.BEFORE_FOLD), at_most=2),
    Ratio(Part.STATISTICS, "statistics_build_text_s", "processor time of a build by a text, seconds",
          lambda it, _: it.value(statistic_reads.BUILD_TEXT), at_most=10),
    Ratio(Part.STATISTICS, "statistics_build_date_s", "processor time of a build by a text and a date, seconds",
          lambda it, _: it.value(statistic_reads.BUILD_DATE), at_most=20),
    Ratio(Part.STATISTICS, "statistics_wrong_groups", "groups that differ after builds while writers run",
          lambda it, _: it.value(statistic_reads.WRONG), at_most=0),
    Ratio(Part.STATISTICS, "patch_unread_vs_none", "PatchContent of a field that no statistic reads, against none",
          _with_statistics(statistic_writes.UNREAD, "one"), at_least=0.97),
    Ratio(Part.STATISTICS, "patch_statistic_vs_none", "the same of a field that one statistic reads",
          _with_statistics(statistic_writes.READ, "one"), at_least=0.85),
    Ratio(Part.STATISTICS, "patch_statistics3_vs_none", "the same of a field that three statistics read",
          _with_statistics(statistic_writes.READ, "three"), at_least=0.7),
    Ratio(Part.STATISTICS, "patch_group_vs_none", "sixteen writers of one group against no statistic",
          _with_statistics(statistic_writes.GROUP, "one"), at_least=0.9),
    Ratio(Part.STATISTICS, "patch_held_group_vs_none", "the same while another transaction holds the group",
          _values(statistic_writes.of(statistic_writes.HELD, "one"),
                  statistic_writes.of(statistic_writes.GROUP, "none")),
          at_least=0.9),
    Ratio(Part.STATISTICS, "save_statistic_vs_none", "SaveDraft of 1,000 with one statistic against none",
          _with_statistics(statistic_writes.SAVE, "one"), at_least=0.85),
    Ratio(Part.STATISTICS, "commit_statistic_vs_none", "Commit of 1,000, the same",
          _with_statistics(statistic_writes.COMMIT, "one"), at_least=0.7),
    Ratio(Part.STATISTICS, "discard_statistic_vs_none", "Discard of 1,000, the same",
          _with_statistics(statistic_writes.DISCARD, "one"), at_least=0.7),
    Ratio(Part.STATISTICS, "import_new_statistic_vs_none", "ImportContent of new records, the same",
          _with_statistics(statistic_writes.IMPORT_NEW, "one"), at_least=0.7),
    Ratio(Part.STATISTICS, "import_changed_statistic_vs_none", "ImportContent of changed records, the same",
          _with_statistics(statistic_writes.IMPORT_CHANGED, "one"), at_least=0.85),
    Ratio(Part.SYNC, "sync_first_byte_ms", "p99 from a commit to its request at the system of record, milliseconds",
          lambda it, _: it.latency_ms(sync.FIRST_BYTE, 99), at_most=250),
    Ratio(Part.SYNC, "sync_pushed_per_s", "records a second to a system that answers a hundred in 50 ms",
          lambda it, _: it.value(sync.UPDATED), at_least=1_000),
    Ratio(Part.SYNC, "sync_loaded_per_s", "records a second of a first snapshot",
          lambda it, _: it.value(sync.LOADED), at_least=5_000),
    Ratio(Part.SYNC, "sync_load_vs_import", "the same against ImportContent of the same records",
          _values(sync.LOADED, sync.IMPORTED)),
    Ratio(Part.SYNC, "sync_reconciled_per_s", "unchanged records a second of a snapshot: a million in three minutes",
          lambda it, _: it.value(sync.RECONCILED), at_least=5_556),
    Ratio(Part.SYNC, "sync_reconcile_mb", "peak memory of the workers meanwhile, MiB",
          lambda it, _: it.value(sync.MEMORY), at_most=200),
    Ratio(Part.SYNC, "sync_transaction_s", "the longest transaction meanwhile, seconds",
          lambda it, _: it.value(sync.TRANSACTION), at_most=2),
    Ratio(Part.SYNC, "sync_row_bytes", "a row of sync_record with its indexes, bytes",
          lambda it, _: it.value(sync.ROW), at_most=300),
    Ratio(Part.SYNC, "sync_page_vs_plain", "GetMerged of 100 records of a bound collection against another one",
          _values(sync_cost.PAGE_BOUND, sync_cost.PAGE_PLAIN), at_most=1.25),
    Ratio(Part.SYNC, "sync_patch_beside_vs_without", "PatchContent beside a sync against a tenant without, time",
          _values(sync_cost.PATCH_BESIDE, sync_cost.PATCH_WITHOUT), at_most=1.03),
    Ratio(Part.SYNC, "sync_statements_beside_vs_without", "the same, statements",
          _values(sync_cost.STATEMENTS_BESIDE, sync_cost.STATEMENTS_WITHOUT), at_most=1),
    Ratio(Part.WORKERS, "patch_workers2_vs_1", "PatchContent with two workers against one, calls a second",
          _values(workers.of(patches.PATCH, 2), workers.of(patches.PATCH, 1))),
    Ratio(Part.WORKERS, "get_workers2_vs_1", "GetContent with two workers against one, calls a second",
          _values(workers.of(patches.GET, 2), workers.of(patches.GET, 1))),
)  # fmt: skip
