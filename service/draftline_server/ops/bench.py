"""Measures the service against what the machine can do, and tells the ratios.

PostgreSQL, each server and each load run in processes of their own. Every figure is taken once a
round, the rounds are interleaved, and the median of the rounds counts, so that what else the
machine does meanwhile touches all figures alike. A figure is added to a `_round`, a ratio to `RATIOS`.
Merged lists and drafts, which want a million records, are measured in `bench_merged`.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from draftline import Client
from rich.console import Console
from rich.table import Table

from . import bench_copy, bench_merged, bench_tables, bench_watch, migrate
from .bench_merged import MergedSizes
from .bench_processes import Load, Timing, import_rate, measured, serving
from .bench_tables import Limit
from .demo_steps import films
from .postgres import EmbeddedPostgres

TENANT = "bench"
PATCHED = "patched"
IMPORTED = "imported"
DECLARED = {"/Major Genre": "text", "/Worldwide Gross": "number", "/Release Date": "date"}


class Part(Enum):
    """What can be measured by itself."""

    PATCHES = "patches"
    IMPORTS = "imports"
    MERGED = "merged"
    WATCH = "watch"


ALL = tuple(Part)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured, and for how long."""

    records: int = 100_000
    imported: int = 100_000
    rounds: int = 3
    seconds: float = 3.0
    concurrencies: tuple[int, ...] = (1, 16, 128)
    watchers: int = 1_000
    merged: MergedSizes = field(default_factory=MergedSizes)

    @classmethod
    def of(cls, *, quick: bool, **given: Any) -> Sizes:
        few = cls(5_000, 10_000, 1, 1.0, (1, 128), 200, MergedSizes.of(quick=True))
        return replace(few if quick else cls(), **given)


@dataclass(frozen=True, slots=True)
class Stand:
    """Where it is measured: a folder, the database, and servers: as it comes, with one statement a patch, and
    with partial updates switched off."""

    home: Path
    url: str
    grouping: str
    single: str
    replacing: str


@dataclass(slots=True)
class Figures:
    """What was measured: by name, a timing or a rate from each round."""

    timings: dict[str, list[Timing]] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)

    def rate(self, name: str) -> float:
        """A second, the median of the rounds."""
        rates = self.rates.get(name) or [timing.rate for timing in self.timings[name]]
        return statistics.median(rates)

    def latency_s(self, name: str, percent: int) -> float:
        return statistics.median(timing.percentile_s(percent) for timing in self.timings[name])


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure against another; `of` takes the highest concurrency measured."""

    part: Part
    name: str
    limit: Limit
    of: Callable[[Figures, int], float]


RATIOS = (
    Ratio(
        Part.PATCHES,
        "patch_vs_empty_rpc",
        Limit("PatchContent against an empty rpc, calls a second"),
        lambda it, top: it.rate(f"patch, {top} at once") / it.rate(f"empty rpc, {top} at once"),
    ),
    Ratio(
        Part.PATCHES,
        "patch_grouped_vs_single",
        Limit("the same against one statement a patch"),
        lambda it, top: it.rate(f"patch, {top} at once") / it.rate(f"patch, one a statement, {top} at once"),
    ),
    Ratio(
        Part.PATCHES,
        "patch_ids_vs_none",
        Limit("the same against patches without request ids"),
        lambda it, top: it.rate(f"patch, {top} at once") / it.rate(f"patch, no request id, {top} at once"),
    ),
    Ratio(
        Part.PATCHES,
        "replace_vs_empty_rpc",
        Limit("the same with partial updates switched off"),
        lambda it, top: it.rate(f"fetch and replace, {top} at once") / it.rate(f"empty rpc, {top} at once"),
    ),
    Ratio(
        Part.PATCHES,
        "partial_update_latency_gain",
        Limit("latency of a lone patch, lower by"),
        lambda it, _: 1 - it.latency_s("patch, 1 at once", 50) / it.latency_s("fetch and replace, 1 at once", 50),
    ),
    Ratio(
        Part.IMPORTS,
        "import_vs_copy",
        Limit("ImportContent against COPY into the same table, records a second"),
        lambda it, _: it.rate("import") / it.rate("COPY"),
    ),
)


def run(sizes: Sizes, binaries: Path | None, console: Console, parts: Collection[Part] = ALL) -> None:
    """Measures and prints. Raises BenchError if a server or a load fails; nothing is left running."""
    with (
        tempfile.TemporaryDirectory(prefix="draftline-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "data", binaries=binaries) as postgres,
    ):
        home = Path(folder)
        migrate.upgrade(postgres.url)
        with serving(home, postgres.url) as grouping:
            if set(parts) & {Part.PATCHES, Part.IMPORTS}:
                with (
                    serving(home, postgres.url, max_group_size=1) as single,
                    serving(home, postgres.url, enable_partial_updates=False) as replacing,
                ):
                    addresses = (each.address for each in (grouping, single, replacing))
                    _run_rounds(sizes, Stand(home, postgres.url, *addresses), console, parts)
            if Part.WATCH in parts:
                console.print(bench_watch.run(postgres.url, grouping, sizes.watchers))
            if Part.MERGED in parts:
                bench_merged.run(postgres.url, grouping.address, sizes.merged, console)


def _run_rounds(sizes: Sizes, stand: Stand, console: Console, parts: Collection[Part]) -> None:
    console.print(f"{sizes.records:,} records, {sizes.rounds} rounds of {sizes.seconds:g} s a figure")
    figures = Figures()
    _prepare(stand.grouping, sizes)
    for number in range(1, sizes.rounds + 1):
        console.print(f"round {number} of {sizes.rounds}")
        if Part.PATCHES in parts:
            _round_of_patches(figures, sizes, stand)
        if Part.IMPORTS in parts:
            _round_of_imports(figures, sizes, stand)
    console.print(_figures_table(figures))
    top = max(sizes.concurrencies)
    rows = ((each.name, each.limit, each.of(figures, top)) for each in RATIOS if each.part in parts)
    console.print(bench_tables.ratios(rows))


def records(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Records like films: each is a film, with its number for an id."""
    known = [content for _, content in films()]
    for number in range(count):
        yield record_id(number), {**known[number % len(known)], "Number": number}


def record_id(number: int) -> str:
    return f"film-{number:08}"


def _prepare(address: str, sizes: Sizes) -> None:
    with Client(address, tenant_id=TENANT, timeout=None) as client:
        for collection in (PATCHED, IMPORTED):
            client.put_collection(collection, fields=DECLARED)
        client.import_content(PATCHED, records(sizes.records))


def _round_of_patches(figures: Figures, sizes: Sizes, stand: Stand) -> None:
    for concurrency in sizes.concurrencies:
        for name, address, kind, request_ids in (
            ("empty rpc", stand.grouping, "empty", False),
            ("patch", stand.grouping, "patch", True),
            ("patch, no request id", stand.grouping, "patch", False),
            ("patch, one a statement", stand.single, "patch", True),
            ("fetch and replace", stand.replacing, "patch", True),
        ):
            load = Load(
                kind, address, TENANT, PATCHED, sizes.records, concurrency, sizes.seconds, request_ids=request_ids
            )
            figures.timings.setdefault(f"{name}, {concurrency} at once", []).append(measured(stand.home, load))


def _round_of_imports(figures: Figures, sizes: Sizes, stand: Stand) -> None:
    bench_copy.empty(stand.url, TENANT, IMPORTED)
    imported = import_rate(stand.home, Load("import", stand.grouping, TENANT, IMPORTED, sizes.imported, 1, 0))
    figures.rates.setdefault("import", []).append(imported)
    bench_copy.empty(stand.url, TENANT, IMPORTED)
    copied = bench_copy.copy_rate(stand.url, TENANT, IMPORTED, list(records(sizes.imported)))
    figures.rates.setdefault("COPY", []).append(copied)


def _figures_table(figures: Figures) -> Table:
    table = Table("figure", title="Figures: medians of the rounds", title_justify="left")
    for name in ("a second", "p50 ms", "p95 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for name in figures.timings:
        latencies = (f"{figures.latency_s(name, percent) * 1000:.2f}" for percent in (50, 95, 99))
        table.add_row(name, f"{figures.rate(name):,.0f}", *latencies)
    for name in figures.rates:
        table.add_row(f"{name}, records", f"{figures.rate(name):,.0f}")
    return table
