"""Ask before a new spec of a collection removes or changes parts of the present one."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click
from draftline import (
    ChangeHistory,
    Client,
    Collection,
    DeclaredField,
    DeclaredRelation,
    DeclaredStatistic,
    NotFoundError,
    PermissionDeniedError,
    SortKey,
)

from .terminal_text import confirm, echo


def confirm_removal(
    client: Client, collection: str, wanted: dict[str, Any], expected_version: int | None
) -> int | None:
    """List what the new spec removes and changes, and ask.

    Return the version that the answer is about, if anything is removed or changed.
    """
    try:
        current = client.get_collection(collection)
    except NotFoundError:
        return expected_version
    except PermissionDeniedError:
        message = (
            "The caller may not read the present spec, so its removals cannot be listed; pass --yes to replace it."
        )
        raise click.UsageError(message) from None
    if not current.version:  # the collection has records and no spec
        return expected_version
    removed, changed = [*_removed(current, wanted)], [*_changed(current, wanted)]
    if not removed and not changed:
        return expected_version
    for verb, parts in (("removes", removed), ("changes", changed)):
        if parts:
            echo(f"The new spec of {collection} {verb}:\n  " + "\n  ".join(parts), err=True)
    if not sys.stdin.isatty():
        raise click.UsageError("Standard input is not a terminal; pass --yes to confirm, or list them as well.")
    confirm("Put this spec? The indexes of removed parts are removed.")
    return current.version if expected_version is None else expected_version


def _removed(current: Collection, wanted: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each part that the new spec omits."""
    fields, orders = _types(wanted["fields"]), {tuple(order) for order in wanted["orders"]}
    yield from (f"the field {field.path} ({field.type})" for field in current.fields if field.path not in fields)
    yield from (f"the order {_order(order.keys)}" for order in current.orders if tuple(order.keys) not in orders)
    for kind, present, names in _named(current, wanted):
        yield from (f"the {kind} {name}" for name in present if name not in names)
    if current.json_schema is not None and wanted.get("json_schema") is None:
        yield "the JSON Schema"


def _changed(current: Collection, wanted: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each part that the new spec has with another content, and for each index built again."""
    types, refusing = _types(wanted["fields"]), {each.path: str(each.on_type_mismatch) for each in wanted["fields"]}
    retyped = {field.path for field in current.fields if types.get(field.path, str(field.type)) != str(field.type)}
    for field in current.fields:
        if field.path in retyped:
            yield f"the type of the field {field.path}: {field.type} becomes {types[field.path]}"
        before, after = str(field.on_type_mismatch), refusing.get(field.path)
        if after not in (None, before):
            yield f"values of another type in the field {field.path}: {before} becomes {after}"
    orders = {tuple(order) for order in wanted["orders"]}
    for order in current.orders:
        if tuple(order.keys) in orders and any(key.path in retyped for key in order.keys):
            yield f"the order {_order(order.keys)}: built again, for the new type"
    paths = {each.statistic.name: _paths(each.statistic) for each in current.statistics}
    for kind, present, names in _named(current, wanted):
        for name, text in present.items():
            if names.get(name, text) != text:
                yield f"the {kind} {name}: {text} becomes {names[name]}"
            elif name in names and kind == "statistic" and retyped & paths[name]:
                yield f"the statistic {name}: built again, for the new type"
    wanted_schema, wanted_history = wanted.get("json_schema"), str(wanted.get("history", ChangeHistory.VALUES))
    if None not in (current.json_schema, wanted_schema) and current.json_schema != wanted_schema:
        yield "the JSON Schema"
    if str(current.history) != wanted_history:
        yield f"the detail of the change log: {current.history} becomes {wanted_history}"


def _named(current: Collection, wanted: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str], dict[str, str]]]:
    """Yield each kind of parts that have names, with the texts of the present and of the wanted ones by name."""
    statistics, relations = wanted.get("statistics", []), wanted.get("relations", [])
    yield "statistic", _statistics(each.statistic for each in current.statistics), _statistics(statistics)
    yield "relation", _relations(each.relation for each in current.relations), _relations(relations)


def _types(fields: Iterable[DeclaredField]) -> dict[str, str]:
    return {field.path: str(field.type) for field in fields}


def _statistics(statistics: Iterable[DeclaredStatistic]) -> dict[str, str]:
    return {each.name: _statistic(each) for each in statistics}


def _statistic(statistic: DeclaredStatistic) -> str:
    """Return the text of a statistic, in which the order of the measures makes no difference."""
    keys = [each if isinstance(each, str) else _key(each.path, each.grain) for each in statistic.group_by]
    ranged = [f"range({statistic.range_by})"] if statistic.range_by else []
    sums = f": {', '.join(sorted(statistic.measures))}" if statistic.measures else ""
    return ", ".join([*ranged, *(key.strip() for key in keys)]) + sums


def _paths(statistic: DeclaredStatistic) -> set[str]:
    keys = {each.rpartition("(")[2].removesuffix(")") if isinstance(each, str) else each.path
            for each in statistic.group_by}  # fmt: skip
    return {*keys, *statistic.measures, statistic.range_by}


def _key(path: str, grain: object) -> str:
    return path if grain is None else f"{grain}({path})"


def _relations(relations: Iterable[DeclaredRelation]) -> dict[str, str]:
    return {
        each.name: f"{each.field} to {each.collection}" + (f", inverse {each.inverse}" if each.inverse else "")
        for each in relations
    }


def _order(keys: Iterable[SortKey]) -> str:
    return ", ".join(f"{key.path} desc" if key.descending else key.path for key in keys)
