"""The CSV columns of `draftline import`: the options that decide their types, and the output of the decisions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, BinaryIO

import click
from draftline import Client, FieldType, NotFoundError, PermissionDeniedError

from ..record_files.csv_files import DELIMITER_NAMES
from ..record_files.csv_records import CsvRecords
from ..record_files.csv_types import ColumnType, TypeRules
from ..record_files.json_problems import load_json
from ..record_files.readers import RecordFileError
from .terminal_text import echo

DELIMITERS = {name: char for char, name in DELIMITER_NAMES.items()} | {r"\t": "\t"}
TYPES = ("infer", "text")


def csv_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command the CSV options as keywords: `types`, one for each type, `delimiter` and `fill`."""
    options = [
        click.option("--types", metavar="FILE|infer|text",
                     help="CSV: take types from FILE, infer them from the cells only, or make all text."),
        *(_type_option(each) for each in ColumnType),
        click.option("--delimiter", metavar="CHARACTER", callback=_delimiter,
                     help="CSV: delimiter: a character or comma, semicolon, tab, pipe. Default: guessed."),
        click.option("--fill", is_flag=True, help="CSV: accept rows that are too short or too long, and name columns "
                     "without a unique name."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _type_option(type_: ColumnType) -> Callable[..., Any]:
    text = {
        ColumnType.TEXT: "keep this column as text.",
        ColumnType.NUMBER: "read this column as numbers, in any notation.",
        ColumnType.BOOLEAN: "read this column as booleans: true and false, yes and no, 1 and 0, on and off.",
        ColumnType.DATE: "reject values in this column that are not dates.",
        ColumnType.TIMESTAMP: "reject values in this column that are not dates or timestamps.",
    }[type_]
    return click.option(f"--{type_}", f"{type_}_columns", metavar="COLUMN", multiple=True, help=f"CSV: {text}")


def _delimiter(_context: click.Context, _option: click.Parameter, given: str | None) -> str | None:
    delimiter = DELIMITERS.get(given.lower(), given) if given else given
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise click.BadParameter(
            f"{given!r} cannot be a delimiter: pass one character other than a quote or a line break."
        )
    return delimiter


def given_options(options: Mapping[str, Any]) -> list[str]:
    """Return the CSV options that were given, as on the command line."""
    return ["--" + name.removesuffix("_columns") for name, value in options.items() if value]


def csv_records(
    client: Client, collection: str, file: BinaryIO, *, id_field: str | None, id_fields: Collection[str],
    delimiter: str | None, fill: bool, types: str | None, **columns: tuple[str, ...],
) -> CsvRecords:  # fmt: skip
    """Return the records of a CSV file, and print the decided type of each column, one per line."""
    flags: dict[str, ColumnType] = {}
    for type_ in ColumnType:
        for name in columns[f"{type_}_columns"]:
            if flags.setdefault(name, type_) is not type_:
                raise click.UsageError(f"--{flags[name]} and --{type_} are both given for the column {name}.")
    in_file, must_exist = _types_in(types) if types and types not in TYPES else ({}, False)
    rules = TypeRules(
        flags,
        in_file,
        tuple(in_file) if must_exist else (),
        id_column=id_field,
        is_text=types == "text",
        declared=dict if types == "infer" else lambda: _declared(client, collection),
    )
    records = CsvRecords(file, rules, id_fields=id_fields, delimiter=delimiter, fill=fill)
    _print_types(records)
    return records


def _print_types(records: CsvRecords) -> None:
    if records.table.is_guessed and records.table.delimiter != ",":
        name = DELIMITER_NAMES[records.table.delimiter]
        echo(f"Guessed delimiter: {name}; use --delimiter to override it.", err=True)
    for column in records.columns:
        echo(str(column), err=True)


def _declared(client: Client, collection: str) -> Mapping[str, ColumnType]:
    """Return the types that the collection spec declares for top-level fields; none if there is no spec."""
    try:
        found = client.get_collection(collection)
    except NotFoundError:
        return {}
    except PermissionDeniedError as error:
        raise click.ClickException(f"{error}\nThe spec of {collection} cannot be read; pass --types.") from error
    return _by_column({each.path: each.type for each in found.fields})


def _by_column(fields: Mapping[str, FieldType | str]) -> dict[str, ColumnType]:
    """Return the types by column name, from types by JSON Pointer (RFC 6901). Nested fields are skipped."""
    names = {path: path[1:].replace("~1", "/").replace("~0", "~") for path in fields if path.count("/") == 1}
    return {name: ColumnType(str(fields[path])) for path, name in names.items()}


def _types_in(path: str) -> tuple[dict[str, ColumnType], bool]:
    """Return the types in a file, and whether all of its columns are required in the CSV."""
    try:
        with click.open_file(path, encoding="utf-8") as file:
            found = load_json(file)
    except OSError as error:
        raise click.UsageError(f"--types {path}: {error.strerror}") from None
    try:
        if isinstance(found, dict) and isinstance(found.get("fields"), dict):
            return _by_column(found["fields"]), False
        return {str(name): ColumnType(type_) for name, type_ in found.items()}, True
    except (ValueError, AttributeError):
        expected = f"an object of columns and their types, each one of {', '.join(ColumnType)}"
        raise RecordFileError(f"{path}: must contain {expected}, or the output of `collections show --json`") from None
