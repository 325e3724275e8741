"""`draftline import`: a file into a collection."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, BinaryIO

import click
from draftline import Client, ImportMode
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ..ops import record_files
from ..ops.record_files import Format, IdRule
from .client import with_client
from .group import json_option, reporting

REFRESH_RECORDS = 500


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--collection", required=True, help="Where to.")
@click.option("--id", "field", metavar="FIELD", help="The field that holds each record's id.")
@click.option("--id-from", "fields", metavar="FIELD", multiple=True, help="Make ids of this field; give several.")
@click.option("--id-row", "by_row", is_flag=True, help="Make ids of the place in the file: 1, 2, 3.")
@click.option("--format", "format_name", type=click.Choice([each.value for each in Format]), help="Default: by suffix.")
@click.option("--text", "text_fields", metavar="FIELD", multiple=True, help="CSV: keep this column as text.")
@click.option("--mode", type=click.Choice([each.value for each in ImportMode]), default="upsert", show_default=True,
              help="snapshot also deletes what the file does not hold.")  # fmt: skip
@click.option("--allow-empty", is_flag=True, help="Let an empty snapshot delete the whole collection.")
@json_option
@reporting
@with_client
def import_command(
    client: Client, *, file: BinaryIO, collection: str, field: str | None, fields: tuple[str, ...], by_row: bool,
    format_name: str | None, text_fields: tuple[str, ...], mode: str, allow_empty: bool, as_json: bool,
) -> None:  # fmt: skip
    """Load a file into a collection: all of it, or nothing.

    FILE (`-`: standard input) is a JSON array of objects (.json), one object a line (.ndjson, .jsonl), or CSV with a
    header (.csv). It is read as it is sent, whatever its size, and numbers stay exact. Say where ids come from by one
    of --id, --id-from and --id-row: the same file then always has the same ids.

    In CSV, an empty cell becomes null, a number or true or false what it says, and anything else text.
    """
    if sum(map(bool, (field, fields, by_row))) != 1:
        raise click.UsageError("Say where ids come from: by one of --id, --id-from and --id-row.")
    format_ = Format(format_name) if format_name else record_files.format_of(file.name)
    rows = record_files.read(file, format_, frozenset(text_fields))
    identified = record_files.identified(rows, IdRule(field, fields))
    result = client.import_content(collection, _shown(identified, file), mode=mode, allow_empty=allow_empty)
    told = (
        f"{collection}: {result.inserted_count:,} inserted, {result.updated_count:,} updated, "
        f"{result.unchanged_count:,} unchanged, {result.deleted_count:,} deleted"
    )
    click.echo(json.dumps({"collection": collection, **asdict(result)}) if as_json else told)


def _shown(records: Iterator[tuple[str, dict[str, Any]]], file: BinaryIO) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records, while a bar tells on a terminal how much of the file has been read."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from records
        return
    columns = (BarColumn(), TaskProgressColumn(), DownloadColumn(), TextColumn("{task.fields[count]:,} records"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task("import", total=_size_bytes(file), count=0)
        for count, record in enumerate(records, 1):
            yield record
            if count % REFRESH_RECORDS == 0:
                progress.update(task, completed=file.tell() if file.seekable() else 0, count=count)


def _size_bytes(file: BinaryIO) -> int | None:
    if file is sys.stdin.buffer or not file.seekable():
        return None
    here = file.tell()
    end = file.seek(0, 2)
    file.seek(here)
    return end
