"""The benchmark, as far as that it measures everything, tells it, and leaves nothing behind. Not what it finds."""

from __future__ import annotations

import json
import tempfile
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

import bench

# Other programs read them.
NAMES = (
    "patch_vs_empty_rpc", "patch_grouped_vs_single", "patch_latency_vs_bare", "partial_update_latency_gain",
    "partial_update_statement_gain", "batch_rows_vs_pgbench", "merged_sql_vs_plain", "merged_page1000_vs_page1",
    "merged_drafts5000_vs_0", "merged_1m_vs_10k", "merged_call_vs_bare", "save_draft_vs_insert", "commit_vs_update",
    "import_vs_copy", "stream_memory_mb",
)  # fmt: skip
SIZES = bench.Sizes(
    records=22_000, imported=50, rounds=1, seconds=0.2, warm_up_s=0.1, concurrencies=(1, 2), lists=(1_000,),
    own_drafts=(0, 5, 100), other_drafts=200, deep=3, page_rounds=2, watchers=10,
)  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a small run wrote."""
    home, path = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("bench") / "results.json"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(home))
        bench.report.write(path, bench.run(SIZES, None, Console(width=200)))
    assert list(home.iterdir()) == []
    written: dict[str, Any] = json.loads(path.read_text())
    return written


def test_bench_tells_every_ratio_and_where_it_was_measured(found: dict[str, Any]) -> None:
    assert {*NAMES, "patch_workers2_vs_1", "get_workers2_vs_1"} <= set(found["ratios"])
    assert [name for name, value in found["ratios"].items() if not isinstance(value, int | float)] == []
    assert found["machine"]["cores"] >= 1
    assert {"python", "postgresql", "grpcio", "draftline-server"} <= set(found["versions"])


def test_bench_tells_figures_with_units_and_percentiles(found: dict[str, Any]) -> None:
    figures = {figure["name"]: figure for figure in found["figures"]}
    assert len(figures) == len(found["figures"])
    assert all(isinstance(figure["value"], int | float) and figure["unit"] for figure in figures.values())
    patch = figures["PatchContent, 2 in flight"]
    assert 0 < patch["p50"] <= patch["p95"] <= patch["p99"]
    assert patch["limit"] == figures["empty rpc, 2 in flight"]["value"]
    assert figures["statements a patch, partial updates on"]["value"] == pytest.approx(1, abs=0.1)
    assert figures["statements a patch, partial updates off"]["value"] > 6


def test_bench_draws_every_ratio_that_has_a_limit(found: dict[str, Any]) -> None:
    words = texts(bench.chart.draw(found))
    assert set(NAMES) <= set(words)
    assert {"1 in flight", "2 in flight", "1,000 records", "22,000 records"} <= set(words)


def test_chart_of_some_figures_leaves_out_the_others(found: dict[str, Any]) -> None:
    some = {**found, "figures": [], "ratios": {"import_vs_copy": 0.1, "stream_memory_mb": None}}
    words = texts(bench.chart.draw(some))
    assert [name for name in NAMES if name in words] == ["import_vs_copy"]
    assert {"0.10", "at least 0.4"} <= set(words)


def texts(svg: str) -> list[str | None]:
    return [text.text for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_bench_measures_a_part(capsys: pytest.CaptureFixture[str]) -> None:
    found = bench.run(SIZES, None, Console(width=200), [bench.Part.IMPORTS])
    assert list(found["ratios"]) == ["import_vs_copy"]
    assert {figure["unit"] for figure in found["figures"]} == {"records/s"}
    assert "import_vs_copy" in capsys.readouterr().out
