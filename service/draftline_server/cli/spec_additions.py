"""Add a proposal to the present spec of a collection, after confirmation."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import click
from draftline import Client, Collection, DeclaredField, DeclaredRelation, NotFoundError, SortKey
from draftline.documents import encode

from ..contracts.proposals import MAX_FIELDS, Proposal, ProposedField
from ..domain.filters.values import FieldType
from .index_progress import wait_until_built
from .terminal_text import confirm, echo

PARTS = ("fields", "orders", "schema")
MAX_SCHEMA_BYTES = 262_144  # as in collection.proto
_MAX_ORDERS = 16

Keys = tuple[SortKey, ...]


@dataclass(frozen=True)
class Additions:
    """The parts of a proposal that the present spec lacks, and the JSON Schema that the new spec has."""

    fields: list[DeclaredField]
    orders: list[Keys]
    json_schema: dict[str, Any] | None
    changes_schema: bool
    replaces_schema: bool

    def lines(self) -> list[str]:
        """Return a line for each change."""
        lines = [f"adds the field {each.path} ({each.type})" for each in self.fields]
        lines += [
            f"adds the order {', '.join(key_text((key.path, key.descending)) for key in keys)}" for keys in self.orders
        ]
        if self.changes_schema:
            lines.append("replaces the JSON Schema" if self.replaces_schema else "adds the JSON Schema")
        return lines


def put_proposal(client: Client, collection: str, proposal: Proposal, parts: set[str], *, yes: bool) -> None:
    """Show the changes, ask for confirmation unless `yes`, and put them. Present fields keep their types.

    Raises VersionMismatchError if the spec was changed in the meantime.
    """
    try:
        current: Collection | None = client.get_collection(collection)
    except NotFoundError:
        current = None
    additions = _additions(current, proposal, parts)
    if additions.changes_schema and (size := _schema_bytes(additions)) > MAX_SCHEMA_BYTES:
        raise click.ClickException(
            f"the JSON Schema would have {size:,} bytes, and may have {MAX_SCHEMA_BYTES:,}, because the content has "
            "very many keys; pass --only fields --only orders to put the rest"
        )
    if not additions.lines():
        echo(f"The spec of {collection} already has what is proposed.", err=True)
        return
    echo(f"The new spec of {collection}:\n  " + "\n  ".join(additions.lines()), err=True)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("Standard input is not a terminal; pass --yes to confirm.")
        confirm("Put it?")
    put = _put(client, collection, current, additions)
    if put.is_building:
        put = wait_until_built(client, collection, None)
    echo(f"The spec of {collection} is at version {put.version}.", err=True)


def _additions(current: Collection | None, proposal: Proposal, parts: set[str]) -> Additions:
    declared = {each.path for each in current.fields} if current else set()
    relations = [each.relation for each in current.relations] if current else []
    orders = {order.keys for order in current.orders} if current else set()
    schema = current.json_schema if current else None
    fields = [DeclaredField(each.pointer, each.type.lower()) for each in proposal.fields
              if "fields" in parts and each.pointer not in declared
              and not _is_for_relation(each, relations)][: MAX_FIELDS - len(declared)]  # fmt: skip
    known = declared | {each.path for each in fields}
    proposed = [tuple(SortKey(path, descending=descending) for path, descending in order)
                for order in proposal.orders if "orders" in parts]  # fmt: skip
    missing = [keys for keys in proposed if keys not in orders and all(key.path in known for key in keys)]
    wanted = proposal.json_schema if "schema" in parts else schema
    return Additions(fields, missing[: _MAX_ORDERS - len(orders)], wanted, wanted != schema, schema is not None)


def _schema_bytes(additions: Additions) -> int:
    return len(encode(additions.json_schema).encode())


def _is_for_relation(field: ProposedField, relations: list[DeclaredRelation]) -> bool:
    """Return whether a relation does not allow the field: it has its name, or holds ids, which are texts."""
    first, *below = field.pointer[1:].split("/")
    is_no_text = field.type in (FieldType.NUMBER, FieldType.BOOLEAN)
    return any((below and each.name == first) or (is_no_text and each.field == field.pointer) for each in relations)


def _put(client: Client, collection: str, current: Collection | None, additions: Additions) -> Collection:
    kept: dict[str, Any] = {}
    if current:
        kept = {
            "history": current.history,
            "statistics": [each.statistic for each in current.statistics],
            "relations": [each.relation for each in current.relations],
        }
    return client.put_collection(
        collection,
        fields=[*(current.fields if current else ()), *additions.fields],
        orders=[*((order.keys for order in current.orders) if current else ()), *additions.orders],
        json_schema=additions.json_schema,
        expected_version=current.version if current else 0,
        **kept,
    )


def key_text(key: tuple[str, bool]) -> str:
    """Return a key of an order, a pointer and true for descending, as `collections put --order` takes it."""
    return f"{key[0]} desc" if key[1] else key[0]
