"""`draftline demo` and `draftline bench`: each on a PostgreSQL of its own, which is gone afterwards."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from draftline import Client
from rich.console import Console

from ..app import running
from ..ops import bench, demo, logs, migrate
from ..ops.postgres import EmbeddedPostgres
from ..ops.threaded import threaded
from ..settings import Settings
from .group import reporting


@click.command("demo")
@click.pass_obj
@reporting
def demo_command(settings: Settings) -> None:
    """Walk through every call, on 3,201 films and a service of its own."""
    logs.configure(settings.log_format, "warning")
    console = Console(highlight=False)
    with (
        tempfile.TemporaryDirectory(prefix="draftline-demo-") as folder,
        EmbeddedPostgres(Path(folder), durable=False, binaries=settings.postgres_bin) as postgres,
    ):
        own = settings.model_copy(update={"port": 0, "drain_timeout_s": 1.0})
        revision = migrate.upgrade(postgres.url)
        with (
            threaded(running(own, postgres.url, revision)) as app,
            Client(app.address, tenant_id="demo", user="ada") as client,
        ):
            console.print(f"A service of its own listens on {app.address}.", markup=False)
            demo.walk(client, console)


@click.command("bench")
@click.option("--quick", is_flag=True, help="Fewer records, one round of a second: a look, no measurement.")
@click.option("--records", type=click.IntRange(min=1), help="Records in the collection that is patched.")
@click.option("--rounds", type=click.IntRange(min=1), help="How often each figure is taken; the median counts.")
@click.option("--seconds", type=float, help="How long each figure is taken for.")
@click.pass_obj
@reporting
def bench_command(
    settings: Settings, quick: bool, records: int | None, rounds: int | None, seconds: float | None
) -> None:
    """Measure, as ratios against what this machine can do.

    On a PostgreSQL and services of its own, each in a process, with the load in further ones.
    """
    given = {"records": records, "rounds": rounds, "seconds": seconds}
    sizes = bench.Sizes.of(quick=quick, **{name: value for name, value in given.items() if value is not None})
    bench.run(sizes, settings.postgres_bin, Console(highlight=False))
