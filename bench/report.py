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

from .measurements import PERCENTILES, Measurement, Measurements
from .targets import Ratio

PACKAGES = ("draftline-server", "grpcio", "protobuf", "asyncpg", "uvloop")


def results(measurements: Measurements, ratios: Sequence[tuple[Ratio, float]], postgres: str) -> dict[str, Any]:
    """Return the results. Latencies are in milliseconds; `limit` is the value of the figure that bounds this one."""
    values = {
        "machine": machine(),
        "versions": {"python": platform.python_version(), "postgresql": postgres}
        | {name: version(name) for name in PACKAGES},
        "figures": [_entry(measurements, measurement) for measurement in measurements],
        "ratios": {ratio.name: value for ratio, value in ratios},
    }
    finite: dict[str, Any] = _finite(values)
    return finite


def write(path: Path, results: dict[str, Any]) -> None:
    path.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")


def _entry(measurements: Measurements, measurement: Measurement) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": measurement.name, "value": measurement.value, "unit": measurement.unit}
    if any(measurement.latencies_s):
        entry |= {f"p{percent}": measurement.latency_ms(percent) for percent in PERCENTILES}
    limit = measurements.limit_of(measurement)
    return entry if limit is None else {**entry, "limit": limit}


def _finite(value: Any) -> Any:
    """Replace NaN, which JSON does not have, by None, and round to six digits, which exceeds the precision."""
    match value:
        case dict():
            return {name: _finite(item) for name, item in value.items()}
        case list():
            return [_finite(item) for item in value]
        case float():
            return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


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


def measurements_table(measurements: Measurements) -> Table:
    table = Table("figure", title="Figures: medians of the rounds", title_justify="left")
    table.add_column("value", justify="right")
    table.add_column("unit")
    for percent in PERCENTILES:
        table.add_column(f"p{percent} ms", justify="right")
    for measurement in measurements:
        latencies = (measurement.latency_ms(percent) for percent in PERCENTILES)
        shown = ("" if math.isnan(latency) else f"{latency:,.2f}" for latency in latencies)
        table.add_row(measurement.name, number(measurement.value), measurement.unit, *shown)
    return table


def ratios_table(ratios: Sequence[tuple[Ratio, float]]) -> Table:
    """Return a table of the ratios with their targets. A missed target is red."""
    table = Table("ratio", "what", title="Ratios", title_justify="left")
    table.add_column("value", justify="right")
    table.add_column("target")
    table.add_column("")
    for ratio, value in ratios:
        is_met = ratio.is_met(value)
        verdict = ("pass" if is_met else "miss") if ratio.target else ""
        table.add_row(
            ratio.name, ratio.description, f"{value:.2f}", ratio.target, verdict, style=None if is_met else "red"
        )
    return table


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"
