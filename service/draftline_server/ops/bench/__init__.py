"""Measures the service against what the machine can do, and tells the ratios.

PostgreSQL, each server and the load run in processes of their own; callers are known by tokens, as they would be. What
is compared is measured in turns, round by round, and the median of the rounds counts, so that what else the machine
does meanwhile touches all of it alike. A part measures figures, `limits` makes ratios of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import asyncpg
from rich.console import Console

from . import chart, imports, merged, patches, report, watch, workers
from .figures import Figures
from .limits import RATIOS, ratios_of
from .processes import BenchError
from .sizes import ALL, Part, Sizes
from .stand import Stand, standing

__all__ = ["ALL", "RATIOS", "BenchError", "Part", "Sizes", "chart", "report", "run"]

# In this order: imports while the tables are empty, and patches, which leave dead rows behind, late.
PARTS: dict[Part, Callable[[Stand, Sizes, Figures], None]] = {
    Part.IMPORTS: imports.measure,
    Part.MERGED: merged.measure,
    Part.PATCHES: patches.measure,
    Part.WATCH: watch.measure,
    Part.WORKERS: workers.measure,
}


def run(sizes: Sizes, binaries: Path | None, console: Console, parts: Collection[Part] = ALL) -> dict[str, Any]:
    """Measures, prints, and returns what `report.results` makes of it.

    Raises BenchError if a server or a load fails; nothing is left running.
    """
    chosen = tuple(part for part in PARTS if part in parts)
    with console.status("starting") as status, standing(binaries) as stand:
        figures = Figures(
            lambda latest: status.update(f"{latest.name}: {report.number(latest.values[-1])} {latest.unit}")
        )
        for part in chosen:
            console.print(f"measuring {part.value}")
            status.update("preparing")
            PARTS[part](stand, sizes, figures)
        postgres = asyncio.run(_version(stand.url))
    ratios = list(ratios_of(figures, sizes, chosen))
    console.print(report.figures_table(figures))
    console.print(report.ratios_table(ratios))
    return report.results(figures, ratios, postgres)


async def _version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()
