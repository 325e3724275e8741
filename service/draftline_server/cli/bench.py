"""`draftline bench`: a benchmark relative to the limits of this machine, on a temporary PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from ..ops import bench
from ..settings import Settings
from .group import reporting

FILE_COLUMNS = 160
Writable = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.command("bench")
@click.option("--only", "parts", type=click.Choice([part.value for part in bench.Part]), multiple=True,
              help="A part of it; give several. Default: all.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Fewer records, one round of less than a second: a look, no measurement.")
@click.option("--records", type=click.IntRange(min=1), help="Records that are patched, and in the longest list.")
@click.option("--rounds", type=click.IntRange(min=1), help="How often each figure is taken; the median counts.")
@click.option("--seconds", type=float, help="How long each figure is taken for.")
@click.option("--results", type=Writable, default="bench-results.json", show_default=True,
              help="Where the figures go, as JSON.")  # fmt: skip
@click.option("--chart", type=Writable, default="bench-results.svg", show_default=True,
              help="Where they are drawn, as SVG.")  # fmt: skip
@click.pass_obj
@reporting
def bench_command(
    settings: Settings, *, parts: tuple[str, ...], quick: bool, records: int | None, rounds: int | None,
    seconds: float | None, results: Path, chart: Path,
) -> None:  # fmt: skip
    """Measure performance as ratios to the limits of this machine.

    It runs on a PostgreSQL and services of its own, each in a separate process, with the load in further ones. The
    full benchmark, over a million records and 105,000 drafts of them, takes a quarter of an hour; --quick takes less
    than two minutes.
    """
    given = {"records": records, "rounds": rounds, "seconds": seconds}
    sizes = bench.Sizes.of(quick=quick, **{name: value for name, value in given.items() if value is not None})
    console = Console(highlight=False)
    chosen = [bench.Part(part) for part in parts] or bench.ALL
    found = bench.run(
        sizes, settings.postgres_bin, console if console.is_terminal else Console(width=FILE_COLUMNS), chosen
    )
    bench.report.write(results, found)
    chart.write_text(bench.chart.draw(found))
