"""Ask before a new spec of a collection removes parts of the present one."""

from __future__ import annotations

import sys
from typing import Any

import click
from draftline import Client, NotFoundError, PermissionDeniedError, SortKey


def confirm_removal(
    client: Client, collection: str, wanted: dict[str, Any], expected_version: int | None
) -> int | None:
    """Ask before parts of the spec are removed. Return the version that the answer is about, if something is."""
    try:
        current = client.get_collection(collection)
    except NotFoundError:
        return expected_version
    except PermissionDeniedError:
        message = (
            "The caller may not read the present spec, so its removals cannot be listed; pass --yes to replace it."
        )
        raise click.UsageError(message) from None
    kept = {field.path for field in wanted["fields"]}
    removed = [f"the field {field.path} ({field.type})" for field in current.fields if field.path not in kept]
    listed = {tuple(order.keys): ", ".join(map(_text, order.keys)) for order in current.orders}
    wanted_orders = {tuple(order) for order in wanted["orders"]}
    removed += [f"the order {text}" for keys, text in listed.items() if keys not in wanted_orders]
    names = {each.name for each in wanted.get("statistics", [])}
    declared = [each.statistic.name for each in current.statistics]
    removed += [f"the statistic {name}" for name in declared if name not in names]
    relations = {each.name for each in wanted.get("relations", [])}
    removed += [
        f"the relation {each.relation.name}" for each in current.relations if each.relation.name not in relations
    ]
    if current.json_schema is not None and wanted.get("json_schema") is None:
        removed.append("the JSON Schema")
    if not removed:
        return expected_version
    click.echo(f"The new spec of {collection} removes:\n  " + "\n  ".join(removed), err=True)
    if not sys.stdin.isatty():
        raise click.UsageError("Standard input is not a terminal; pass --yes to confirm, or list them as well.")
    click.confirm("Remove them, with their indexes?", abort=True, err=True)
    return current.version if expected_version is None else expected_version


def _text(key: SortKey) -> str:
    return f"{key.path} desc" if key.descending else key.path
