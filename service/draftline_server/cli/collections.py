"""`draftline collections`: what is declared, listed, shown and put."""

from __future__ import annotations

import json
from typing import Any, TextIO

import click
from draftline import Client, Collection, IndexState, SortKey
from rich.console import Console
from rich.table import Table

from .client import with_client
from .group import reporting


@click.group()
def collections() -> None:
    """List, show and declare collections."""


@collections.command("list")
@reporting
@with_client
def list_command(client: Client) -> None:
    """List the tenant's collections, declared or not."""
    table = Table("collection", "version", "fields", "indexes ready")
    for each in client.list_collections():
        ready = sum(index.state is IndexState.READY for index in each.indexes)
        version = str(each.version) if each.version else "not declared"
        table.add_row(each.collection, version, str(len(each.fields)), f"{ready} of {len(each.indexes)}")
    _console().print(table)


@collections.command("show")
@click.argument("collection")
@click.option("--json", "as_json", is_flag=True, help="As JSON, which `collections put --file` takes.")
@reporting
@with_client
def show_command(client: Client, collection: str, as_json: bool) -> None:
    """Show what is declared of COLLECTION, and how far its indexes are."""
    found = client.get_collection(collection)
    if as_json:
        click.echo(json.dumps(_declaration(found), indent=2, ensure_ascii=False))
    else:
        show(found, _console())


@collections.command("put")
@click.argument("collection")
@click.option("--field", "fields", metavar="PATH=TYPE", multiple=True,
              help="As '/Major Genre=text': a JSON Pointer and text, number, boolean, date or timestamp.")  # fmt: skip
@click.option("--order", "orders", metavar="KEYS", multiple=True,
              help="An order to keep in an index, as '/Source, /Production Budget desc'.")  # fmt: skip
@click.option("--schema", type=click.File(encoding="utf-8"), help="A file with the JSON Schema of the content.")
@click.option("--file", "declaration", type=click.File(encoding="utf-8"), help="All of it as JSON; see `show --json`.")
@click.option("--expected-version", type=int, help="Fail unless the declaration is at this version; 0: is new.")
@click.option("--validate-only", is_flag=True, help="Check everything, write nothing.")
@click.option("--timeout", "timeout_s", type=float, help="Seconds to wait for the indexes. Default: until built.")
@reporting
@with_client
def put_command(  # noqa: PLR0917 - click gives each by name
    client: Client, collection: str, fields: tuple[str, ...], orders: tuple[str, ...], schema: TextIO | None,
    declaration: TextIO | None, expected_version: int | None, validate_only: bool, timeout_s: float | None,
) -> None:  # fmt: skip
    """Declare COLLECTION, in place of what was declared of it, and build its indexes."""
    if declaration and (fields or orders or schema):
        raise click.UsageError("--file holds the whole declaration: give no --field, --order or --schema with it.")
    wanted = _read(declaration) if declaration else _from_options(fields, orders, schema)
    put = client.put_collection(
        collection, **wanted, expected_version=expected_version, validate_only=validate_only, timeout=timeout_s
    )
    show(put, _console())


def show(collection: Collection, console: Console) -> None:
    """Prints a declaration."""
    title = f"{collection.collection}, version {collection.version}"
    table = Table("index", "type", "state", title=title, title_justify="left")
    types = {field.path: getattr(field.type, "value", field.type) for field in collection.fields}
    for index in collection.indexes:
        keys = index.order.keys
        kinds = ", ".join(types.get(key.path, "") for key in keys)
        table.add_row(", ".join(map(_key_text, keys)), kinds, index.state.value)
    console.print(table)
    if collection.json_schema is not None:
        console.print("JSON Schema:", json.dumps(collection.json_schema, ensure_ascii=False), markup=False)


def _from_options(fields: tuple[str, ...], orders: tuple[str, ...], schema: TextIO | None) -> dict[str, Any]:
    return {
        "fields": dict(map(_field, fields)),
        "orders": [[_key(key.strip()) for key in order.split(",")] for order in orders],
        "json_schema": json.load(schema) if schema else None,
    }


def _read(declaration: TextIO) -> dict[str, Any]:
    read = json.load(declaration)
    if not isinstance(read, dict) or not read.keys() <= {"fields", "orders", "json_schema"}:
        raise ValueError("the declaration must be an object of fields, orders and json_schema")
    orders = [[_key(key) for key in order] for order in read.get("orders", [])]
    return {"fields": read.get("fields", {}), "orders": orders, "json_schema": read.get("json_schema")}


def _declaration(collection: Collection) -> dict[str, Any]:
    return {
        "fields": {field.path: getattr(field.type, "value", field.type) for field in collection.fields},
        "orders": [[_key_text(key) for key in order.keys] for order in collection.orders],
        "json_schema": collection.json_schema,
    }


def _field(text: str) -> tuple[str, str]:
    path, separator, kind = text.rpartition("=")
    if not separator:
        raise click.UsageError(f"--field takes PATH=TYPE, not {text!r}")
    return path, kind.strip().lower()


def _key(text: str) -> SortKey:
    path, _, direction = text.rpartition(" ")
    return SortKey(path, descending=True) if direction == "desc" else SortKey(text)


def _key_text(key: SortKey) -> str:
    return f"{key.path} desc" if key.descending else key.path


def _console() -> Console:
    """Standard output, as wide as it needs to be where that is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=1000)
