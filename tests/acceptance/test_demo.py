"""The walk through every call, and the benchmark, as far as that they run and leave nothing behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from draftline_server.ops import bench, demo
from rich.console import Console
from served import draftline, shown_services


def test_demo_takes_every_step_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before = set(Path(tempfile.gettempdir()).glob("draftline-demo-*"))
    done = draftline("demo", data_dir=tmp_path / "unused", port=1)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(demo.STEPS)} of {len(demo.STEPS)}" in done.stdout
    assert "3,201" in done.stdout
    assert set(Path(tempfile.gettempdir()).glob("draftline-demo-*")) == before
    assert not (tmp_path / "unused").exists()


def test_demo_covers_every_rpc() -> None:
    assert {step.rpc for step in demo.STEPS} == {
        method.name for service in shown_services() for method in service.methods
    }


@pytest.mark.parametrize("step", demo.STEPS, ids=lambda step: step.run.__name__)
def test_demo_shows_the_call_that_it_makes(step: demo.Step) -> None:
    compile(step.code, step.run.__name__, "exec")
    called = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in step.rpc).strip("_")
    assert f"client.{called}(" in step.code


def test_films_have_ids_of_their_own() -> None:
    ids = [record_id for record_id, _ in demo.films()]
    assert len(set(ids)) == len(ids) == 3201
    assert max(map(len, ids)) <= 128


def test_bench_measures_every_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = bench.Sizes(records=50, imported=50, rounds=1, seconds=0.2, concurrencies=(1,))
    bench.run(sizes, None, Console(width=200))
    printed = capsys.readouterr().out
    assert [ratio.name for ratio in bench.RATIOS if ratio.name not in printed] == []
