"""`draftline collections`: list, show and put collection specs."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import TextIO

import click
from draftline import (
    ChangeHistory,
    Client,
    Collection,
    CollectionIndex,
    CollectionStatistic,
    DeadlineExceededError,
    IndexState,
    NotFoundError,
    OnTypeMismatch,
    StatisticState,
)
from rich.table import Table

from .app import json_option, reporting, result_console
from .client import with_client
from .index_progress import put_status, wait_until_built
from .inference import infer_command
from .spec_json import sort_key_text, spec_as_json, spec_of_json, statistic_key_text
from .spec_options import spec_of_options
from .spec_relations import relation_line
from .spec_removals import confirm_removal
from .terminal_text import echo, echo_json


@click.group("collections")
def collections_group() -> None:
    """List, show and put collection specs."""


collections_group.add_command(infer_command)


@collections_group.command("list")
@json_option
@reporting
@with_client
def list_command(client: Client, as_json: bool) -> None:
    """List the tenant's collections, with or without a spec."""
    found = list(client.list_collections())
    if as_json:
        echo_json(json.dumps([spec_as_json(each) for each in found], indent=2, ensure_ascii=False))
        return
    table = Table("collection", "version", "fields", "indexes ready")
    for each in found:
        ready = sum(index.state is IndexState.READY for index in each.indexes)
        version = str(each.version) if each.version else "no spec"
        table.add_row(each.collection, version, str(len(each.fields)), f"{ready} of {len(each.indexes)}")
    result_console().print(table)


@collections_group.command("show")
@click.argument("collection")
@click.option("--no-counts", is_flag=True,
              help="Do not count values of the wrong type, which reads every record.")  # fmt: skip
@json_option
@reporting
@with_client
def show_command(client: Client, collection: str, no_counts: bool, as_json: bool) -> None:
    """Show the spec of a collection, the states of its indexes, and the number of values of the wrong type.

    `collections put --file` accepts the output of --json.
    """
    try:
        found = _counted(client, collection) if not no_counts else client.get_collection(collection)
    except NotFoundError as error:
        near = get_close_matches(collection, [each.collection for each in client.list_collections()], n=1)
        raise click.ClickException(f"{error}" + (f"\nDid you mean {near[0]!r}?" if near else "")) from error
    _show(found, as_json)


@collections_group.command("put")
@click.argument("collection")
@click.option("--field", "fields", metavar="PATH=TYPE", multiple=True,
              help="A field, such as '/Major Genre=text': a JSON Pointer, and text, number, boolean, date or "
              "timestamp.")  # fmt: skip
@click.option("--refuse", metavar="PATH", multiple=True,
              help="A declared field, such as '/Release Date', that rejects values of another type.")  # fmt: skip
@click.option("--order", "orders", metavar="KEYS", multiple=True,
              help="An order to index, such as '/Source, /Production Budget desc'.")  # fmt: skip
@click.option("--statistic", "statistics", metavar="NAME=KEYS: MEASURES", multiple=True,
              help="A statistic, such as 'gross=/Major Genre, year(/Released): /Worldwide Gross'. "
                   "'range(/Budget)' among the keys lets filters compare the field with any values.")  # fmt: skip
@click.option("--relation", "relations", multiple=True, metavar="NAME=PATH:COLLECTION[:INVERSE[:check]]",
              help="Relation to the records of a collection, whose ids are at PATH. Repeatable.")  # fmt: skip
@click.option("--schema", type=click.File(encoding="utf-8"), help="File with the JSON Schema of the content.")
@click.option("--history", type=click.Choice([each.value for each in ChangeHistory]),
              help="Detail that the change log keeps. Default: values.")  # fmt: skip
@click.option(
    "--file",
    "declaration",
    type=click.File(encoding="utf-8"),
    help="The whole spec as JSON, as printed by `show --json`.",
)
@click.option("--expected-version", type=int, help="Fail unless the spec has this version; 0: does not exist yet.")
@click.option("--yes", is_flag=True, help="Do not ask before parts of the present spec are removed or changed.")
@click.option("--validate-only", is_flag=True, help="Check the spec, and write nothing.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the indexes of a large collection are built.")
@click.option(
    "--timeout", "timeout_s", type=float, help="Seconds to wait for the indexes. Default: until they are built."
)
@json_option
@reporting
@with_client
def put_command(
    client: Client, *, collection: str, fields: tuple[str, ...], refuse: tuple[str, ...], orders: tuple[str, ...],
    statistics: tuple[str, ...], relations: tuple[str, ...], schema: TextIO | None, history: str | None,
    declaration: TextIO | None,
    expected_version: int | None, yes: bool, validate_only: bool, no_wait: bool, timeout_s: float | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Replace the spec of a collection, and build its indexes.

    The build continues if the command is interrupted or its time is up; `collections show` reports its progress.

    What the new spec omits is removed, with its indexes. The command lists what is removed or changed, and asks for
    confirmation.
    """
    if declaration and (fields or refuse or orders or statistics or relations or schema or history):
        raise click.UsageError("--file contains the whole spec; remove the other options that set a part of it")
    wanted = spec_of_json(declaration) if declaration else spec_of_options(
        fields=fields, refuse=refuse, orders=orders, statistics=statistics, relations=relations, schema=schema,
        history=history,
    )  # fmt: skip
    if not yes and not validate_only:
        expected_version = confirm_removal(client, collection, wanted, expected_version)
    with put_status(validate_only=validate_only):
        put = client.put_collection(
            collection, **wanted, expected_version=expected_version, validate_only=validate_only, timeout=timeout_s
        )
    if put.is_building and not (no_wait or validate_only):
        put = wait_until_built(client, collection, timeout_s)
    _show(put, as_json)


def _counted(client: Client, collection: str) -> Collection:
    """Return the collection with its counts, or without them if they take too long."""
    try:
        return client.get_collection(collection, include_mismatch_counts=True, include_dangling=True)
    except DeadlineExceededError:
        echo("Values of the wrong type were not counted: that takes too long here.", err=True)
        return client.get_collection(collection)


def _show(collection: Collection, as_json: bool) -> None:
    if as_json:
        echo_json(json.dumps(spec_as_json(collection), indent=2, ensure_ascii=False))
        return
    console = result_console()
    title = f"{collection.collection}, version {collection.version}"
    table = Table("index", "type", "state", title=title, title_justify="left")
    types = {field.path: str(field.type) for field in collection.fields}
    for index in collection.indexes:
        keys = index.order.keys
        kinds = ", ".join(types.get(key.path, "") for key in keys)
        table.add_row(", ".join(map(sort_key_text, keys)), kinds, _state_text(index))
    console.print(table)
    for each in collection.statistics:
        ranged = [f"range({each.statistic.range_by})"] if each.statistic.range_by else []
        names = ", ".join([*ranged, *map(statistic_key_text, each.statistic.group_by)])
        measures = ", ".join(each.statistic.measures)
        sums = f", with sums of {measures}" if measures else ""
        console.print(f"Statistic {each.statistic.name!r} by {names}{sums}: {_state_text(each)}.", markup=False)
    for relation in collection.relations:
        console.print(relation_line(relation), markup=False)
    for field in collection.fields:
        if field.on_type_mismatch is OnTypeMismatch.REFUSE:
            console.print(f"{field.path} rejects values that are not of type {field.type}.", markup=False)
    for path, count in (collection.mismatch_counts or {}).items():
        if count:
            found = f"{path}: {count:,} records have a value of another type"
            console.print(f"{found}; the filter record.mistyped = true finds them.", markup=False)
    if collection.history is ChangeHistory.PATHS:
        console.print("The change log keeps only paths.")
    if collection.json_schema is not None:
        console.print("JSON Schema:", json.dumps(collection.json_schema, ensure_ascii=False), markup=False)


def _state_text(built: CollectionIndex | CollectionStatistic) -> str:
    if built.state not in (IndexState.BUILDING, StatisticState.BUILDING) or not built.record_total:
        return str(built.state)
    return f"{built.state}, {built.record_count:,} of {built.record_total:,} records"
