"""`draftline import`: import a file into a collection."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, BinaryIO

import click
from draftline import Client, DraftlineError, ImportMode

from ..record_files import readers as record_files
from ..record_files.csv_records import CsvRecords
from ..record_files.readers import FileRecord, Format, IdRule
from .app import json_option, reporting
from .client import with_client
from .file_progress import with_progress
from .import_columns import csv_options, csv_records, given_options
from .terminal_text import echo, echo_json


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--collection", required=True, help="Collection to import into.")
@click.option("--id", "field", metavar="FIELD", help="Field that contains the id of each record.")
@click.option(
    "--id-from", "fields", metavar="FIELD", multiple=True, help="Make ids from this field; repeat for several."
)
@click.option("--id-row", "by_row", is_flag=True,
              help="Number the records: 1, 2, 3. The number is the id and the position.")  # fmt: skip
@click.option(
    "--format", "format_name", type=click.Choice([each.value for each in Format]), help="Default: by the file's suffix."
)
@csv_options
@click.option("--mode", type=click.Choice([each.value for each in ImportMode]), default="upsert", show_default=True,
              help="snapshot also deletes records that are not in the file.")  # fmt: skip
@click.option("--allow-empty", is_flag=True, help="Allow an empty snapshot to delete the whole collection.")
@json_option
@reporting
@with_client
def import_command(
    client: Client, *, file: BinaryIO, collection: str, field: str | None, fields: tuple[str, ...], by_row: bool,
    format_name: str | None, mode: str, allow_empty: bool, as_json: bool, **csv: Any,
) -> None:  # fmt: skip
    """Import a file into a collection: all of it, or nothing.

    FILE (`-`: standard input) is a JSON array of objects (.json), one object per line (.ndjson, .jsonl), or CSV with a
    header (.csv, .tsv). It is streamed, so that memory does not grow with it, and numbers stay exact. Choose the ids by
    --id, --id-from or --id-row; the same file always gets the same ids.

    In CSV, each column has a type. The first of these that applies decides it: --text, --number, --boolean, --date or
    --timestamp for the column; the FILE of --types, which is JSON such as {"price": "number"}; text, for the column of
    --id and, with --types text, for all columns; the type that the collection declares, unless --types infer is
    given; or else number if every cell is a plain number, boolean if every cell is true or false, and text otherwise.
    A cell in quotes is text, an empty one null. The decided types are printed, one line for each column.
    """
    if sum(map(bool, (field, fields, by_row))) != 1:
        raise click.UsageError("Pass one of --id, --id-from and --id-row.")
    format_ = Format(format_name) if format_name else record_files.format_of(file.name)
    if format_ is not Format.CSV and (given := given_options(csv)):
        raise click.UsageError(f"{', '.join(given)}: only for CSV; values in JSON have types.")
    rule = IdRule(field, fields)
    rows: Iterable[FileRecord] = (
        csv_records(client, collection, file, id_field=field, id_fields=rule.fields, **csv)
        if format_ is Format.CSV
        else record_files.read(file, format_)
    )
    records = with_progress(record_files.identified(rows, rule), file, lambda count: f"{count:,} records")
    try:
        result = client.import_content(collection, records, mode=ImportMode(mode), allow_empty=allow_empty)
    except DraftlineError as error:
        if error.record_index is None:
            raise
        raise click.ClickException(_placed(error, rows if isinstance(rows, CsvRecords) else None, field)) from error
    columns = {each.name: each.type for each in rows.columns} if isinstance(rows, CsvRecords) else None
    summary = (
        f"{collection}: {result.inserted_count:,} inserted, {result.updated_count:,} updated, "
        f"{result.unchanged_count:,} unchanged, {result.deleted_count:,} deleted"
    )
    as_dict = {"collection": collection, **asdict(result), **({"columns": columns} if columns else {})}
    if as_json:
        echo_json(json.dumps(as_dict, ensure_ascii=False))
    else:
        echo(summary)


def _placed(error: DraftlineError, table: CsvRecords | None, id_field: str | None) -> str:
    """Return the service's error about a record, with its position in the file and its column or field."""
    path = error.metadata.get("path", "")
    name = path[1:].replace("~1", "/").replace("~0", "~") if path.count("/") == 1 else ""
    if not path and id_field and any(each.field.endswith(".record_id") for each in error.field_violations):
        name = id_field
    where = f", column {name}" if name and table is not None else f", field {name or path}" if name or path else ""
    problem = error.message.removeprefix(f"{error.source}: ")
    for field in ("content.json: ", "content: ", "record_id: " if name == id_field else ""):
        problem = problem.removeprefix(field)
    return f"{error.source}{where}: {problem} ({error.code.name}/{error.reason})"
