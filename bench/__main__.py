"""The command line of the benchmark, `python -m bench`; `make bench` runs all of it."""

from __future__ import annotations

from pathlib import Path

import click
from draftline_server.domain.errors import OperatorError
from draftline_server.embedded_postgres.process import EmbeddedPostgresError
from rich.console import Console

from . import ALL, Part, Sizes, chart, report, run

FILE_COLUMNS = 160
Writable = click.Path(dir_okay=False, writable=True, path_type=Path)
Directory = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--only", "parts", type=click.Choice([part.value for part in Part]), multiple=True,
              help="Run this part; repeat for several. Default: all.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Fewer records and one short round: a rough impression, not a measurement.")
@click.option("--records", type=click.IntRange(min=1), help="Records to patch, in the longest list, and to sync.")
@click.option("--rounds", type=click.IntRange(min=1), help="Measure each figure this often; the median counts.")
@click.option("--seconds", type=float, help="Measure each figure for this long in each round.")
@click.option("--results", type=Writable, default="bench-results.json", show_default=True,
              help="Write the figures to this file, as JSON.")  # fmt: skip
@click.option("--chart", "chart_path", type=Writable, default="bench-results.svg", show_default=True,
              help="Draw the figures into this file, as SVG.")  # fmt: skip
@click.option("--postgres-bin", "binaries", type=Directory, envvar="DRAFTLINE_POSTGRES_BIN", show_envvar=True,
              help="Directory of PostgreSQL's programs. Default: the ones that come with the environment.")  # fmt: skip
def main(
    *, parts: tuple[str, ...], quick: bool, records: int | None, rounds: int | None, seconds: float | None,
    results: Path, chart_path: Path, binaries: Path | None,
) -> None:  # fmt: skip
    """Measure performance as ratios to the limits of this machine.

    PostgreSQL, the services and the load run in separate processes, all private to the benchmark. The full benchmark,
    with a million records and 105,000 drafts of them, takes a quarter of an hour; --quick takes less than two minutes.
    """
    given = {"records": records, "synced": records, "rounds": rounds, "seconds": seconds}
    sizes = Sizes.of(quick=quick, **{name: value for name, value in given.items() if value is not None})
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=FILE_COLUMNS)
    try:
        measured = run(sizes, binaries, console, [Part(part) for part in parts] or ALL)
    except (OperatorError, EmbeddedPostgresError, OSError) as error:
        raise click.ClickException(str(error)) from error
    report.write(results, measured)
    chart_path.write_text(chart.draw(measured))


if __name__ == "__main__":
    main()
