"""`draftline stats`: print exact statistics of groups of records, with and without the caller's drafts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import click
from draftline import Client, Statistics
from draftline.documents import encode
from rich.bar import Bar
from rich.table import Table

from .app import json_option, reporting, result_console
from .client import with_client
from .terminal_text import echo, echo_json


@click.command("stats")
@click.argument("collection")
@click.option("--measure", "measures", metavar="FUNCTION(PATH)", multiple=True,
              help="Such as 'sum(/Gross)': count, sum, avg, min, max or count_distinct. Default: count.")  # fmt: skip
@click.option("--by", "keys", metavar="PATH", multiple=True,
              help="A field that forms groups, such as '/Major Genre' or 'year(/Release Date)'.")  # fmt: skip
@click.option("--filter", "condition", default="", help="Only records that match, as in lists.")
@click.option("--order", "orders", metavar="KEY", multiple=True, help="A measure or a key, with ' desc' to descend.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1_000, show_default=True, help="Groups to print.")
@click.option("--allow-scan", is_flag=True, help="Read all records if no statistic covers the query.")
@json_option
@reporting
@with_client
def stats_command(
    client: Client, *, collection: str, measures: tuple[str, ...], keys: tuple[str, ...], condition: str,
    orders: tuple[str, ...], limit: int, allow_scan: bool, as_json: bool,
) -> None:  # fmt: skip
    """Print exact statistics of groups of records.

    For each group and measure: the baseline, the records with your drafts, and the difference. The collection spec must
    declare a statistic that covers the query; see `collections put`.
    """
    wanted = measures or ("count",)
    found = client.statistics(
        collection,
        measures=wanted,
        group_by=keys,
        filter=condition,
        order_by=orders,
        limit=limit,
        allow_scan=allow_scan,
    )
    if as_json:
        echo_json("[" + ",\n ".join(map(encode, found.rows())) + "]")  # exact, of any number of digits
    else:
        result_console().print(_table(found, wanted, keys))
    if found.truncated:
        echo(f"There are more than {len(found.groups):,} groups; --limit raises the number.", err=True)


def _table(found: Statistics, measures: tuple[str, ...], keys: tuple[str, ...]) -> Table:
    """Return the table, with a bar of the first measure of the merged records."""
    table = Table(*keys)
    for measure in measures:
        table.add_column(measure, justify="right")
        table.add_column("your drafts", justify="right")
    first = [each.merged[measures[0]] for each in found.groups]
    greatest = max((value for value in first if isinstance(value, (int, float, Decimal))), default=0)
    has_bars = len(first) > 1 and greatest > 0
    if has_bars:
        table.add_column("")
    for each, value in zip(found.groups, first, strict=True):
        cells: list[Any] = ["(none)" if key is None else str(key) for key in each.keys.values()]
        for measure in measures:
            cells += [_text(each.merged[measure]), _signed(each.difference[measure])]
        if has_bars:
            size = float(value) / float(greatest) if isinstance(value, (int, float, Decimal)) else 0.0
            cells.append(Bar(1.0, 0, max(0.0, size), width=24))
        table.add_row(*cells)
    return table


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, (int, float, Decimal)) else str(value)


def _signed(value: Any) -> str:
    return f"{value:+,}" if value else ""
