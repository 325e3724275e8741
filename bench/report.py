"""The report of a benchmark, as tables and as JSON."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from .measurements import PERCENTILES, Figure, Figures
from .targets import Ratio

PACKAGES = ("draftline-server", "grpcio", "protobuf", "asyncpg", "uvloop")


def results(figures: Figures, ratios: Sequence[tuple[Ratio, float]], postgres: str) -> dict[str, Any]:
    """Return the results. Latencies are in milliseconds; `limit` is the value of the figure that bounds this one."""
    found = {
        "machine": machine(),
        "versions": {"python": platform.python_version(), "postgresql": postgres}
        | {name: version(name) for name in PACKAGES},
        "figures": [_entry(figures, figure) for figure in figures],
        "ratios": {ratio.name: value for ratio, value in ratios},
    }
    finite: dict[str, Any] = _finite(found)
    return finite


def write(path: Path, found: dict[str, Any]) -> None:
    path.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n")


def _entry(figures: Figures, figure: Figure) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": figure.name, "value": figure.value, "unit": figure.unit}
    if any(figure.latencies_s):
        entry |= {f"p{percent}": figure.latency_ms(percent) for percent in PERCENTILES}
    limit = figures.limit_of(figure)
    return entry if limit is None else {**entry, "limit": limit}


def _finite(found: Any) -> Any:
    """Replace NaN, which JSON does not have, by None, and round to six digits, which exceeds the precision."""
    match found:
        case dict():
            return {name: _finite(value) for name, value in found.items()}
        case list():
            return [_finite(value) for value in found]
        case float():
            return float(f"{found:.6g}") if math.isfinite(found) else None
    return found


def machine() -> dict[str, Any]:
    model, memory_gib = platform.processor(), math.nan
    try:
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
        memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (OSError, ValueError):
        pass  # it stays unknown
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": model, "cores": cores, "memory_gib": memory_gib, "system": platform.platform()}


def figures_table(figures: Figures) -> Table:
    table = Table("figure", title="Figures: medians of the rounds", title_justify="left")
    table.add_column("value", justify="right")
    table.add_column("unit")
    for percent in PERCENTILES:
        table.add_column(f"p{percent} ms", justify="right")
    for figure in figures:
        latencies = (figure.latency_ms(percent) for percent in PERCENTILES)
        shown = ("" if math.isnan(latency) else f"{latency:,.2f}" for latency in latencies)
        table.add_row(figure.name, number(figure.value), figure.unit, *shown)
    return table


def ratios_table(ratios: Sequence[tuple[Ratio, float]]) -> Table:
    """Return a table of the ratios with their targets. A missed target is red."""
    table = Table("ratio", "what", title="Ratios", title_justify="left")
    table.add_column("value", justify="right")
    table.add_column("limit")
    table.add_column("")
    for ratio, value in ratios:
        holds = ratio.holds(value)
        verdict = ("pass" if holds else "miss") if ratio.limit else ""
        table.add_row(ratio.name, ratio.what, f"{value:.2f}", ratio.limit, verdict, style=None if holds else "red")
    return table


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"
