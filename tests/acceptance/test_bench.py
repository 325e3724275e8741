"""Run a part of the benchmark, and draw charts of complete and of partial results."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from rich.console import Console

import bench
from bench.__main__ import main
from bench.patches import EMPTY, PATCH, at

SIZES = bench.Sizes.of(quick=True, imported=50)


def test_bench_measures_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    results = bench.run(SIZES, None, Console(width=200), [bench.Part.IMPORTS])
    assert list(results["ratios"]) == ["import_vs_copy"]
    assert {figure["unit"] for figure in results["figures"]} == {"records/s"}
    assert "import_vs_copy" in capsys.readouterr().out


def test_bench_refuses_an_unknown_part() -> None:
    refused = CliRunner().invoke(main, ["--only", "nothing"])
    assert refused.exit_code == 2
    assert "imports" in refused.output


@pytest.mark.parametrize("records", [1, 22_000, 120_000, 1_000_000, 5_000_000])
def test_deep_page_is_in_a_list_of_any_length(records: int) -> None:
    sizes = bench.Sizes.of(quick=False, records=records)
    assert sizes.deep_page == 1 or sizes.deep_page * 100 <= records // 4
    assert sizes.deep_page == 1_000 or records < 500_000


def test_bench_says_how_many_records_a_part_needs() -> None:
    with pytest.raises(bench.BenchError, match="at least 22,000 records"):
        bench.merged.measure(None, bench.Sizes.of(quick=True, records=21_999), None)  # type: ignore[arg-type]


def test_chart_shows_every_ratio_that_has_a_target() -> None:
    names = {ratio.name for ratio in bench.RATIOS if ratio.target}
    assert names <= set(texts(bench.chart.draw(results(ratios=dict.fromkeys(names, 1.0)))))


def test_chart_omits_ratios_without_a_value() -> None:
    words = texts(bench.chart.draw(results(ratios={"import_vs_copy": 0.1, "stream_memory_mb": None})))
    assert {"import_vs_copy", "0.10", "at least 0.5"} <= set(words)
    assert "stream_memory_mb" not in words


def test_chart_shows_latencies_and_processor_time_beside_rates() -> None:
    figures = [
        {"name": at(EMPTY, 128), "value": 5_000, "unit": "calls/s"},
        {"name": at(PATCH, 128), "value": 2_000, "unit": "calls/s", "p50": 61.5, "p99": 99.5},
        {"name": f"server CPU, {at(PATCH, 128)}", "value": 312, "unit": "us/call"},
    ]
    assert {"128 in flight", "2,000", "61.5", "99.5", "312"} <= set(texts(bench.chart.draw(results(figures))))


def results(
    figures: list[dict[str, Any]] | None = None, ratios: dict[str, float | None] | None = None
) -> dict[str, Any]:
    return {
        "machine": {"cores": 2, "processor": "a processor"},
        "versions": {"python": "3.11", "postgresql": "18", "grpcio": "1"},
        "figures": figures or [],
        "ratios": ratios or {},
    }


def texts(svg: str) -> list[str | None]:
    return [text.text for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
