"""`draftline collections`: list, show and put collection specs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, TextIO

import click
from draftline import (
    ChangeHistory,
    Client,
    Collection,
    CollectionIndex,
    CollectionStatistic,
    DeadlineExceededError,
    DeclaredField,
    DeclaredStatistic,
    FieldType,
    IndexState,
    NotFoundError,
    OnTypeMismatch,
    SortKey,
    StatisticKey,
)
from rich.table import Table

from ..record_files.json_problems import load_json
from .app import json_option, reporting, result_console
from .client import with_client
from .index_progress import put_status, wait_until_built
from .inference import infer_command
from .spec_relations import is_relation, relation_as_dict, relation_line, relation_of_dict, relation_of_text
from .spec_removals import confirm_removal

TYPES = [each.value for each in FieldType]

# Keys of the `--json` output that are not part of the spec.
OUTPUT_ONLY = {"collection", "version", "indexes", "mismatch_counts"}
DECLARED = {"fields", "refuse", "orders", "json_schema", "history", "statistics", "relations"}


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
        click.echo(json.dumps([_as_dict(each) for each in found], indent=2, ensure_ascii=False))
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
    wanted = _read(declaration) if declaration else _from_options(fields, refuse, orders, schema, history)
    if statistics:
        wanted["statistics"] = [_statistic(each) for each in statistics]
    if relations:
        wanted["relations"] = [relation_of_text(each) for each in relations]
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
        click.echo("Values of the wrong type were not counted: that takes too long here.", err=True)
        return client.get_collection(collection)


def _show(collection: Collection, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_as_dict(collection), indent=2, ensure_ascii=False))
        return
    console = result_console()
    title = f"{collection.collection}, version {collection.version}"
    table = Table("index", "type", "state", title=title, title_justify="left")
    types = {field.path: str(field.type) for field in collection.fields}
    for index in collection.indexes:
        keys = index.order.keys
        kinds = ", ".join(types.get(key.path, "") for key in keys)
        table.add_row(", ".join(map(_key_text, keys)), kinds, _state_text(index))
    console.print(table)
    for each in collection.statistics:
        ranged = [f"range({each.statistic.range_by})"] if each.statistic.range_by else []
        names = ", ".join([*ranged, *map(_statistic_key, each.statistic.group_by)])
        measures = ", ".join(each.statistic.measures)
        sums = f", with sums of {measures}" if measures else ""
        console.print(f"Statistic {each.statistic.name!r} by {names}{sums}: {each.state}.", markup=False)
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


def _state_text(index: CollectionIndex) -> str:
    if index.state is not IndexState.BUILDING or not index.record_total:
        return str(index.state)
    return f"{index.state}, {index.record_count:,} of {index.record_total:,} records"


def _from_options(
    fields: tuple[str, ...], refuse: tuple[str, ...], orders: tuple[str, ...], schema: TextIO | None,
    history: str | None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "fields": _refusing(dict(map(_field, fields)), refuse, "--refuse"),
        "orders": [[_key(key.strip()) for key in order.split(",")] for order in orders],
        "json_schema": load_json(schema) if schema else None,
        "history": history or ChangeHistory.VALUES,
    }


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(each, str) for each in values)


def _is_statistic(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and _are_texts(value.get("group_by"))
        and _are_texts(value.get("measures", []))
        and isinstance(value.get("range_by", ""), str)
    )


_SHAPES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("fields", lambda value: isinstance(value, dict) and _are_texts([*value.values()]), "an object of paths and types"),
    ("refuse", _are_texts, "an array of paths"),
    ("orders", lambda value: isinstance(value, list) and all(map(_are_texts, value)), "an array of arrays of keys"),
    (
        "statistics",
        lambda value: isinstance(value, list) and all(map(_is_statistic, value)),
        "an array of objects with name, group_by, measures and range_by",
    ),
    (
        "relations",
        lambda value: isinstance(value, list) and all(map(is_relation, value)),
        "an array of objects with name, field, collection and inverse",
    ),
)


def _read(declaration: TextIO) -> dict[str, Any]:
    read = load_json(declaration)
    if not isinstance(read, dict) or not read.keys() <= DECLARED | OUTPUT_ONLY:
        raise ValueError(f"the spec must be an object of {', '.join(sorted(DECLARED))}")
    for name, is_well, shape in _SHAPES:
        if name in read and not is_well(read[name]):
            raise ValueError(f"spec: {name} must be {shape}")
    orders = [[_key(key) for key in order] for order in read.get("orders", [])]
    rest = {name: read[name] for name in ("json_schema", "history") if name in read}
    rest["statistics"] = [
        DeclaredStatistic(
            each["name"], tuple(each["group_by"]), tuple(each.get("measures", [])), each.get("range_by", "")
        )
        for each in read.get("statistics", [])
    ]
    rest["relations"] = [relation_of_dict(each) for each in read.get("relations", [])]
    return {"fields": _refusing(read.get("fields", {}), read.get("refuse", []), "refuse"), "orders": orders, **rest}


def _refusing(types: dict[str, str], refuse: Iterable[str], where: str) -> list[DeclaredField]:
    """Return the declared fields; those in `refuse` reject values of another type.

    Raise UsageError if one in `refuse` is not declared.
    """
    if unknown := sorted(set(refuse) - types.keys()):
        raise click.UsageError(f"{where}: {unknown[0]!r} is not a declared field")
    return [
        DeclaredField(path, kind, OnTypeMismatch.REFUSE if path in refuse else OnTypeMismatch.ACCEPT)
        for path, kind in types.items()
    ]


def _as_dict(collection: Collection) -> dict[str, Any]:
    return {
        "collection": collection.collection,
        "version": collection.version,
        "fields": {field.path: str(field.type) for field in collection.fields},
        "refuse": [field.path for field in collection.fields if field.on_type_mismatch is OnTypeMismatch.REFUSE],
        "orders": [_order(order.keys) for order in collection.orders],
        "json_schema": collection.json_schema,
        "history": str(collection.history),
        "statistics": [_statistic_as_dict(each) for each in collection.statistics],
        "relations": [relation_as_dict(each) for each in collection.relations],
        "indexes": [{"order": _order(each.order.keys), "state": str(each.state)} for each in collection.indexes],
        **({} if collection.mismatch_counts is None else {"mismatch_counts": collection.mismatch_counts}),
    }


def _statistic_as_dict(statistic: CollectionStatistic) -> dict[str, Any]:
    declared = statistic.statistic
    keys = [_statistic_key(key) for key in declared.group_by]
    shown = {
        "name": declared.name,
        "group_by": keys,
        "measures": list(declared.measures),
        "state": str(statistic.state),
    }
    return {**shown, "range_by": declared.range_by} if declared.range_by else shown


def _statistic_key(key: StatisticKey | str) -> str:
    if isinstance(key, str):
        return key
    return key.path if key.grain is None else f"{key.grain}({key.path})"


def _statistic(text: str) -> DeclaredStatistic:
    name, separator, rest = text.partition("=")
    keys, _, measures = rest.partition(":")
    if not separator or not keys.strip():
        raise click.UsageError(f"--statistic takes NAME=KEYS: MEASURES, not {text!r}")
    by, sums = (tuple(each.strip() for each in part.split(",") if each.strip()) for part in (keys, measures))
    ranges = [each for each in by if each.startswith("range(") and each.endswith(")")]
    if len(ranges) > 1:
        raise click.UsageError(f"--statistic takes at most one range, not {', '.join(ranges)}")
    range_by = ranges[0].removeprefix("range(")[:-1] if ranges else ""
    return DeclaredStatistic(name, tuple(each for each in by if each not in ranges), sums, range_by)


def _order(keys: tuple[SortKey, ...]) -> list[str]:
    return list(map(_key_text, keys))


def _field(text: str) -> tuple[str, str]:
    path, separator, kind = text.rpartition("=")
    if not separator:
        raise click.UsageError(f"--field takes PATH=TYPE, not {text!r}")
    if not path.startswith("/"):
        raise click.UsageError(f"--field takes a JSON Pointer, such as /{path}, not {path!r}")
    kind = kind.strip().lower()
    if kind not in TYPES:
        raise click.UsageError(f"--field {path!r}: {kind!r} is not a type; use one of {', '.join(TYPES)}")
    return path, kind


def _key(text: str) -> SortKey:
    path, _, direction = text.rpartition(" ")
    return SortKey(path, descending=True) if direction == "desc" else SortKey(text)


def _key_text(key: SortKey) -> str:
    return f"{key.path} desc" if key.descending else key.path
