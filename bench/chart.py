"""A chart of `report.results` in up to four panels; a panel without figures is omitted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import drafts, imports, merged, stream
from .patches import BATCH, EMPTY, GET, ONE_RECORD, PATCH, SINGLE, at
from .svg import FAINT, INK, RULE, Canvas
from .targets import RATIOS, Ratio

WIDTH, MARGIN = 960, 28
BARS_TOP, BARS_HEIGHT = 76, 290
PLOT_TOP, PLOT_BOTTOM = 74, 44  # within a bar panel: space for the title and legend, and for the group names
TABLE_TOP, TABLE_ROW = 58, 22
RATIOS_TOP, ROW = 58, 25
AXIS_X, AXIS_WIDTH = 250, 480
LEAST, MOST = 1 / 4, 8.0  # the ends of the axis: times better than the target
GOOD, BAD = "#2f8f5b", "#c8463c"
LIMIT_COLOR, OWN_COLOR, OTHER_COLOR = "#b9c2ca", "#2868b0", "#8fb8e3"
SHADES = ("#a9cbe8", "#5f9bd3", "#2868b0", "#17406f")

_PAGE = re.compile(r"GetMerged, ([\d,]+) records, ([\d,]+) own drafts")
_IN_FLIGHT = re.compile(rf"{PATCH}, (\d+) in flight")


@dataclass(frozen=True, slots=True)
class _Bars:
    """Groups of bars by name, each with one value per label of the legend; None draws no bar."""

    title: str
    colors: Mapping[str, str]
    groups: Mapping[str, Sequence[float | None]]
    axis: str


def draw(results: Mapping[str, Any]) -> str:
    """Return the chart of the results, as SVG."""
    figures = {figure["name"]: figure for figure in results["figures"]}
    values = results["ratios"]
    ratios = [(ratio, values[ratio.name]) for ratio in RATIOS if ratio.target and values.get(ratio.name) is not None]
    panels = [bars for bars in (_patches(figures), _pages(figures)) if bars.groups]
    rows = [figures[name] for name in _listed(figures) if name in figures]
    table_top = BARS_TOP + (BARS_HEIGHT if panels else 0)
    ratios_top = table_top + (TABLE_TOP + TABLE_ROW * len(rows) if rows else 0)
    height = ratios_top + RATIOS_TOP + ROW * len(ratios) + MARGIN
    canvas = Canvas(WIDTH, height, "Draftline, measured relative to the limits of this machine")
    machine, versions = results["machine"], results["versions"]
    canvas.text(MARGIN, 36, "Draftline, measured relative to the limits of this machine", size=17, bold=True)
    subtitle = (
        f"{machine['cores']} cores of {machine['processor']}, shared by a server, PostgreSQL {versions['postgresql']} "
        f"and the load; Python {versions['python']}, grpcio {versions['grpcio']}"
    )
    canvas.text(MARGIN, 56, subtitle, color=FAINT)
    width = (WIDTH - MARGIN) / 2 - MARGIN
    for number, bars in enumerate(panels):
        _draw_bars(canvas, bars, MARGIN + number * (width + MARGIN), width)
    if rows:
        _draw_table(canvas, figures, rows, table_top)
    if ratios:
        _draw_ratios(canvas, ratios, ratios_top)
    return str(canvas)


def _patches(figures: Mapping[str, Any]) -> _Bars:
    series = {"empty rpc": EMPTY, "PatchContent": PATCH, "one statement per call": SINGLE}
    counts = sorted(int(match[1]) for name in figures if (match := _IN_FLIGHT.fullmatch(name)))
    groups = {
        f"{count} in flight": [_value(figures.get(at(name, count))) for name in series.values()] for count in counts
    }
    colors = dict(zip(series, (LIMIT_COLOR, OWN_COLOR, OTHER_COLOR), strict=True))
    return _Bars("Patches of random records, calls a second", colors, groups, "calls/s")


def _pages(figures: Mapping[str, Any]) -> _Bars:
    pages = {match.groups(): figure for name, figure in figures.items() if (match := _PAGE.fullmatch(name))}
    drafts = list(dict.fromkeys(own for _, own in pages))
    groups = {
        f"{records} records": [_value(pages.get((records, own))) for own in drafts]
        for records in dict.fromkeys(records for records, _ in pages)
    }
    colors = dict(zip((f"{own} own drafts" for own in drafts), SHADES, strict=False))
    return _Bars("A page of 100 merged records, filtered and sorted, ms", colors, groups, "ms")


def _value(figure: Mapping[str, Any] | None) -> float | None:
    return None if figure is None else figure["value"]


def _draw_bars(canvas: Canvas, bars: _Bars, left: float, width: float) -> None:
    canvas.text(left, BARS_TOP + 26, bars.title, size=13, bold=True)
    x = left
    for label, color in bars.colors.items():
        canvas.box(x, BARS_TOP + 38, 10, 10, color)
        canvas.text(x + 15, BARS_TOP + 47, label, size=11, color=FAINT)
        x += 27 + 6.2 * len(label)
    top, bottom = BARS_TOP + PLOT_TOP, BARS_TOP + BARS_HEIGHT - PLOT_BOTTOM
    highest = max(value for values in bars.groups.values() for value in values if value is not None)
    canvas.line(left, bottom, left + width, bottom)
    room = width / len(bars.groups)
    for index, (name, values) in enumerate(bars.groups.items()):
        present = [
            (value, color) for value, color in zip(values, bars.colors.values(), strict=False) if value is not None
        ]
        thickness = min(34.0, (room - 14) / len(bars.colors))
        x = left + index * room + (room - thickness * len(present)) / 2
        canvas.text(left + (index + 0.5) * room, bottom + 18, name, size=11, color=FAINT, anchor="middle")
        for value, color in present:
            tall = max(1.0, value / highest * (bottom - top - 14))
            canvas.box(x + 1, bottom - tall, thickness - 2, tall, color)
            canvas.text(x + thickness / 2, bottom - tall - 4, _short(value), size=10, anchor="middle")
            x += thickness


def _listed(figures: Mapping[str, Any]) -> Sequence[str]:
    """Return the names of the figures in the table."""
    top = max((int(match[1]) for name in figures if (match := _IN_FLIGHT.fullmatch(name))), default=1)
    singles = [at(name, top) for name in (EMPTY, GET, PATCH, ONE_RECORD)]
    pages = [name for name in figures if _PAGE.fullmatch(name)][-1:]  # of the longest list, with the most drafts
    return [*singles, BATCH, *pages, merged.DEEP, drafts.SAVE, drafts.COMMIT, imports.IMPORT, stream.STREAM]


def _draw_table(canvas: Canvas, figures: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], top: float) -> None:
    canvas.text(MARGIN, top + 22, "Rates, latencies and processor time", size=13, bold=True)
    columns = {"p50 ms": 590, "p99 ms": 670, "server CPU, µs": 790, "PostgreSQL CPU, µs": WIDTH - MARGIN}
    for title, x in columns.items():
        canvas.text(x, top + TABLE_TOP - 14, title, size=10, color=FAINT, anchor="end")
    for index, figure in enumerate(rows):
        line, name = top + TABLE_TOP - 8 + (index + 0.7) * TABLE_ROW, figure["name"]
        cells = (
            figure.get("p50"), figure.get("p99"),
            _value(figures.get(f"server CPU, {name}")), _value(figures.get(f"PostgreSQL CPU, {name}")),
        )  # fmt: skip
        canvas.line(MARGIN, line - 15, WIDTH - MARGIN, line - 15)
        canvas.text(MARGIN, line, name, size=11.5)
        canvas.text(440, line, _short(figure["value"]), size=11.5, anchor="end", bold=True)
        canvas.text(448, line, figure["unit"], size=11.5, color=FAINT)
        for x, value in zip(columns.values(), cells, strict=True):
            canvas.text(x, line, "" if value is None else _short(value), size=11.5, anchor="end")


def _draw_ratios(canvas: Canvas, ratios: Sequence[tuple[Ratio, float]], top: float) -> None:
    canvas.text(MARGIN, top + 22, "Each ratio compared with its target", size=13, bold=True)
    bottom = top + RATIOS_TOP - 8 + ROW * len(ratios)
    for factor in (1 / 4, 1 / 2, 1, 2, 4, 8):
        x = _axis_x(factor)
        canvas.line(x, top + RATIOS_TOP - 8, x, bottom, color=INK if factor == 1 else RULE)
        words = "target" if factor == 1 else f"{factor:g}× better" if factor > 1 else f"{1 / factor:g}× worse"
        canvas.text(x, top + RATIOS_TOP - 14, words, size=10, color=FAINT, anchor="middle")
    for index, (ratio, value) in enumerate(ratios):
        middle = top + RATIOS_TOP - 8 + (index + 0.5) * ROW
        score = _score(ratio, value)
        x, color = _axis_x(score), GOOD if ratio.is_met(value) else BAD
        canvas.text(MARGIN, middle + 4, ratio.name, size=11.5)
        canvas.box(min(x, _axis_x(1)), middle - 7, max(2.0, abs(x - _axis_x(1))), 14, color)
        label_x = AXIS_X + AXIS_WIDTH + 24
        canvas.text(label_x + 34, middle + 4, _short(value), size=11.5, color=color, anchor="end", bold=True)
        canvas.text(label_x + 46, middle + 4, ratio.target, size=11.5, color=FAINT)


def _score(ratio: Ratio, value: float) -> float:
    """Return how many times better than the target the value is, clamped to the axis; below 1 is worse."""
    if ratio.at_least is not None:
        score = value / ratio.at_least
    else:
        score = (ratio.at_most or 1) / value if value > 0 else MOST
    return min(MOST, max(LEAST, score))


def _axis_x(score: float) -> float:
    return AXIS_X + AXIS_WIDTH * math.log(score / LEAST) / math.log(MOST / LEAST)


def _short(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
