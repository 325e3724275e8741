"""Run the whole benchmark with small sizes: it measures every figure, reports it, and leaves nothing behind."""

from __future__ import annotations

import json
import tempfile
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console
from support.soak_scale import IS_SOAK

import bench

pytestmark = pytest.mark.skipif(not IS_SOAK, reason="runs in `make soak`: it takes a minute")

# Other programs read these names.
NAMES = (
    "patch_vs_empty_rpc", "patch_grouped_vs_single", "patch_latency_vs_bare", "partial_update_latency_gain",
    "partial_update_statement_gain", "batch_rows_vs_pgbench", "merged_sql_vs_plain", "merged_page1000_vs_page1",
    "merged_drafts5000_vs_0", "merged_1m_vs_10k", "merged_call_vs_bare", "save_draft_vs_insert", "commit_vs_update",
    "import_vs_copy", "stream_memory_mb", "declare_vs_create_index", "declare_patch_p99", "sync_first_byte_ms",
    "sync_pushed_per_s", "sync_loaded_per_s", "sync_reconciled_per_s", "sync_reconcile_mb", "sync_transaction_s",
    "sync_row_bytes", "sync_page_vs_plain", "sync_patch_beside_vs_without", "sync_statements_beside_vs_without",
)  # fmt: skip
SIZES = bench.Sizes(
    records=22_000, imported=50, rounds=1, seconds=1.0, warm_up_s=0.2, concurrencies=(1, 2), lists=(1_000,),
    own_drafts=(0, 5, 100), other_drafts=200, deep=3, page_rounds=2, watchers=10, synced=1_500, pushed=200, commits=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the results that a small run wrote."""
    home, path = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("bench") / "results.json"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(home))
        bench.report.write(path, bench.run(SIZES, None, Console(width=200)))
    assert list(home.iterdir()) == []
    written: dict[str, Any] = json.loads(path.read_text())
    return written


def test_bench_reports_every_ratio_and_the_machine(results: dict[str, Any]) -> None:
    assert {*NAMES, "patch_workers2_vs_1", "get_workers2_vs_1"} <= set(results["ratios"])
    assert [name for name, value in results["ratios"].items() if not isinstance(value, int | float)] == []
    assert results["machine"]["cores"] >= 1
    assert {"python", "postgresql", "grpcio", "draftline-server"} <= set(results["versions"])


def test_bench_reports_figures_with_units_and_percentiles(results: dict[str, Any]) -> None:
    figures = {figure["name"]: figure for figure in results["figures"]}
    assert len(figures) == len(results["figures"])
    assert all(isinstance(figure["value"], int | float) and figure["unit"] for figure in figures.values())
    patch = figures["PatchContent, 2 in flight"]
    assert 0 < patch["p50"] <= patch["p95"] <= patch["p99"]
    assert patch["limit"] == figures["empty rpc, 2 in flight"]["value"]
    assert figures["statements a patch, partial updates on"]["value"] == 1
    assert figures["statements a patch, partial updates off"]["value"] > 6


def test_chart_shows_every_ratio_that_has_a_target(results: dict[str, Any]) -> None:
    words = texts(bench.chart.draw(results))
    assert set(NAMES) <= set(words)
    assert {"1 in flight", "2 in flight", "1,000 records", "22,000 records"} <= set(words)


def texts(svg: str) -> list[str | None]:
    return [text.text for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
