"""Measure the service relative to the limits of the machine, and report the ratios.

PostgreSQL, each server and the load run in separate processes. Callers authenticate by tokens, as in production. The
figures to compare are measured alternately, in rounds, and the median of the rounds counts, so that other load on the
machine affects all of them alike. Each part measures figures; `targets` computes ratios from them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import asyncpg
from rich.console import Console

from . import (
    chart,
    declare,
    imports,
    merged,
    partitions,
    patches,
    reference_imports,
    relations,
    report,
    statistic_reads,
    statistic_writes,
    sync,
    watch,
    workers,
)
from .environment import Environment, benchmark_environment
from .measurements import Measurements
from .processes import BenchError
from .sizes import ALL, Part, Sizes
from .targets import RATIOS, ratios_of

__all__ = ["ALL", "RATIOS", "BenchError", "Part", "Sizes", "chart", "report", "run"]


def _statistics(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    statistic_reads.measure(environment, sizes, measurements)
    statistic_writes.measure(environment, sizes, measurements)


def _relations(environment: Environment, sizes: Sizes, measurements: Measurements) -> None:
    relations.measure(environment, sizes, measurements)
    reference_imports.measure(environment, sizes, measurements)


# The order matters: imports run while the tables are empty, and patches, which leave dead rows, run late.
PARTS: dict[Part, Callable[[Environment, Sizes, Measurements], None]] = {
    Part.IMPORTS: imports.measure,
    Part.MERGED: merged.measure,
    Part.DECLARE: declare.measure,
    Part.STATISTICS: _statistics,
    Part.RELATIONS: _relations,
    Part.SYNC: sync.measure,
    Part.PARTITIONS: partitions.measure,
    Part.PATCHES: patches.measure,
    Part.WATCH: watch.measure,
    Part.WORKERS: workers.measure,
}


def run(sizes: Sizes, binaries: Path | None, console: Console, parts: Collection[Part] = ALL) -> dict[str, Any]:
    """Measure the parts, print tables, and return `report.results`.

    Raise BenchError if a server or a load fails. Nothing is left running.
    """
    chosen = tuple(part for part in PARTS if part in parts)
    with console.status("starting") as status, benchmark_environment(binaries) as environment:
        measurements = Measurements(
            lambda latest: status.update(f"{latest.name}: {report.number(latest.values[-1])} {latest.unit}")
        )
        for part in chosen:
            console.print(f"measuring {part.value}")
            status.update("preparing")
            PARTS[part](environment, sizes, measurements)
        postgres = asyncio.run(_version(environment.url))
    ratios = list(ratios_of(measurements, sizes, chosen))
    console.print(report.measurements_table(measurements))
    console.print(report.ratios_table(ratios))
    return report.results(measurements, ratios, postgres)


async def _version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()
