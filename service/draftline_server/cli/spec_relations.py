"""Relations in the options and the JSON of `draftline collections`."""

from __future__ import annotations

import re
from typing import Any

import click
from draftline import CollectionRelation, DeclaredRelation

_TEXT = re.compile(r"(\w+)=(/.*?):([^:]+)(?::(\w+))?")


def relation_of_text(text: str) -> DeclaredRelation:
    """Return the relation of a `--relation` option."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise click.UsageError(f"--relation takes NAME=PATH:COLLECTION or NAME=PATH:COLLECTION:INVERSE, not {text!r}")
    return DeclaredRelation(*match.groups(default=""))


def is_relation(value: Any) -> bool:
    keys = ("name", "field", "collection")
    return isinstance(value, dict) and all(isinstance(each, str) for each in (*map(value.get, keys), _inverse(value)))


def relation_of_dict(value: dict[str, Any]) -> DeclaredRelation:
    return DeclaredRelation(value["name"], value["field"], value["collection"], _inverse(value))


def relation_as_dict(relation: CollectionRelation) -> dict[str, Any]:
    declared = relation.relation
    return {
        "name": declared.name, "field": declared.field, "collection": declared.collection,
        "inverse": declared.inverse, "state": relation.state and str(relation.state),
    }  # fmt: skip


def relation_line(relation: CollectionRelation) -> str:
    """Return a sentence about a relation."""
    declared = relation.relation
    sentence = f"Relation {declared.name!r} from {declared.field} to {declared.collection}"
    if relation.state is not None:
        sentence += f", inverse {declared.inverse!r}: {relation.state}"
    return f"{sentence}."


def _inverse(value: dict[str, Any]) -> Any:
    return value.get("inverse", "")
