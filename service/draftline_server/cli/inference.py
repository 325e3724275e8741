"""`draftline collections infer`: propose a collection spec from the content of its records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import click
from draftline import Client, View
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from ..contracts.proposals import Proposal, propose, report
from ..contracts.shapes import Shape
from .app import json_option, reporting, result_console
from .client import with_client
from .spec_additions import PARTS, key_text, put_proposal
from .terminal_text import TerminalConsole, echo_json

SAMPLE = 1_000
PROGRESS_ROWS = 500


@click.command("infer")
@click.argument("collection")
@click.option("--all", "read_all", is_flag=True, help="Read every record, so that the proposal fits all of them.")
@click.option("--sample", type=click.IntRange(1), default=SAMPLE, show_default=True, help="Records to read.")
@click.option("--apply", "applies", is_flag=True, help="Put the proposal, in addition to the present spec.")
@click.option("--only", "parts", type=click.Choice(PARTS), multiple=True,
              help="The part of the spec to put. Repeatable. Default: all.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask before the spec is changed.")
@json_option
@reporting
@with_client
def infer_command(
    client: Client, *, collection: str, read_all: bool, sample: int, applies: bool, parts: tuple[str, ...], yes: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Propose fields, orders and a JSON Schema from the content of a collection.

    Shows each key with its frequency, types, range and examples. Without --all, half of the sample is the beginning of
    the collection by record id, and half its end. Drafts are not read.
    """
    root = Shape()
    for content in _contents(client, collection, None if read_all else sample):
        root.add(content)
    if not root.count:
        raise click.ClickException(f"the collection {collection!r} has no records to infer a spec from")
    proposal = propose(root)
    if as_json:
        shown = json.dumps(_as_dict(collection, root, proposal), indent=2, ensure_ascii=False, default=_number)
        echo_json(shown)
    else:
        _show(collection, root, proposal, is_sample=not read_all and root.count >= sample)
    if applies:
        put_proposal(client, collection, proposal, set(parts or PARTS), yes=yes)


def _contents(client: Client, collection: str, limit: int | None) -> Iterator[dict[str, Any]]:
    """Yield the contents of all records, or of `limit` records from both ends of the collection."""
    console = TerminalConsole(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.completed:,} records read"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        for number, content in enumerate(_read(client, collection, limit), start=1):
            yield content
            if number % PROGRESS_ROWS == 0:
                progress.update(task, completed=number)


def _read(client: Client, collection: str, limit: int | None) -> Iterator[dict[str, Any]]:
    if limit is None:
        for each in client.stream_merged(collection, view=View.BASELINE):
            yield each.content
        return
    seen = set()
    for order, part in (("", limit - limit // 2), ("record.record_id desc", limit // 2)):
        records = client.get_merged(
            collection, view=View.BASELINE, order_by=order, page_size=max(1, min(part, PROGRESS_ROWS))
        )
        for each, _ in zip(records, range(part), strict=False):
            if each.record_id in seen:
                return
            seen.add(each.record_id)
            yield each.content


def _as_dict(collection: str, root: Shape, proposal: Proposal) -> dict[str, Any]:
    """Return the report and the proposal; the spec is one that `collections put --file` accepts."""
    return {
        "collection": collection,
        "record_count": root.count,
        "keys": report(root),
        "mixed": [each.pointer for each in proposal.mixed],
        "spec": {
            "fields": {each.pointer: each.type.lower() for each in proposal.fields},
            "orders": [[key_text(key) for key in order] for order in proposal.orders],
            "json_schema": proposal.json_schema,
        },
    }


def _show(collection: str, root: Shape, proposal: Proposal, *, is_sample: bool) -> None:
    console = result_console()
    types = {each.pointer: each.type.lower() for each in proposal.fields}
    table = Table("key", "present", "types", "range", "distinct", "examples", "field",
                  title=f"{collection}, {root.count:,} records read", title_justify="left")  # fmt: skip
    for row in report(root):
        counts = row["types"]
        kinds = " | ".join(f"{kind} {count:,}" if len(counts) > 1 else kind for kind, count in counts.items())
        distinct = f"{row['distinct']:,}{'' if row['distinct_is_exact'] else '+'}" if "distinct" in row else ""
        examples = ", ".join(json.dumps(each, ensure_ascii=False, default=_number) for each in row.get("examples", []))
        table.add_row(
            row["path"], f"{row['share']:.1%}", kinds, _range_text(row), distinct, examples, types.get(row["path"], "")
        )
    console.print(table)
    for each in proposal.mixed:
        kinds = ", ".join(f"{each.shape.kinds[kind]:,} {kind}" for kind in each.shape.present_kinds)
        console.print(f"{each.pointer} has values of several types: {kinds}. The schema allows each of them.")
    for field in proposal.fields:
        if field.mistyped:
            kind = field.type.lower()
            console.print(f"{field.pointer} as {kind}: {field.mistyped:,} values of another type count as missing.")
    if proposal.left_out:
        console.print(f"{proposal.left_out:,} more keys could be declared as fields: each field is an index.")
    for order in proposal.orders:
        console.print(f"Order: {', '.join(map(key_text, order))}")
    if is_sample:
        console.print("This is a sample: other records may have other keys and types. --all reads every record.")


def _range_text(row: dict[str, Any]) -> str:
    parts = []
    for name, unit in (("range", ""), ("characters", " characters"), ("elements", " elements")):
        if name in row:
            least, greatest = row[name]
            span = f"{least:,}" if least == greatest else f"{least:,} to {greatest:,}"
            parts.append(span + unit)
    return "; ".join(parts)


def _number(value: Any) -> Any:
    """Return a Decimal as a JSON number, or as text if a double does not hold it exactly."""
    if isinstance(value, Decimal):
        return float(value) if Decimal(repr(float(value))) == value else str(value)
    raise TypeError(type(value).__name__)
