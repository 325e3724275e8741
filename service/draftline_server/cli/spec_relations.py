"""Relations in the options and the JSON of `draftline collections`."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import click
from draftline import CollectionRelation, DeclaredRelation, RelationIntegrity

_TEXT = re.compile(r"(\w+)=(/[^:]*):([^:]+)(?::(\w*))?(?::(check|none))?")


def relation_of_text(text: str) -> DeclaredRelation:
    """Return the relation of a `--relation` option."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise click.UsageError(
            f"--relation takes NAME=PATH:COLLECTION[:INVERSE[:check]], not {text!r}; a path with a colon needs --file"
        )
    name, path, collection, inverse, integrity = match.groups(default="")
    if not integrity and inverse in tuple(RelationIntegrity):
        raise click.UsageError(
            f"--relation {text!r} would name the inverse {inverse!r}; to check references, end with ::check"
        )
    return DeclaredRelation(name, path, collection, inverse, RelationIntegrity(integrity or "none"))


def is_relation(value: Any) -> bool:
    keys = ("name", "field", "collection")
    return (
        isinstance(value, dict)
        and all(isinstance(each, str) for each in (*map(value.get, keys), _inverse(value)))
        and _integrity(value) in tuple(RelationIntegrity)
    )


def relation_of_dict(value: dict[str, Any]) -> DeclaredRelation:
    integrity = RelationIntegrity(_integrity(value))
    return DeclaredRelation(value["name"], value["field"], value["collection"], _inverse(value), integrity)


def relation_as_dict(relation: CollectionRelation) -> dict[str, Any]:
    declared = relation.relation
    return {
        "name": declared.name, "field": declared.field, "collection": declared.collection,
        "inverse": declared.inverse, "integrity": str(declared.integrity),
        "state": relation.state and str(relation.state),
        **({"dangling": asdict(relation.dangling)} if relation.dangling is not None else {}),
    }  # fmt: skip


def relation_line(relation: CollectionRelation) -> str:
    """Return a sentence about a relation."""
    declared = relation.relation
    sentence = f"Relation {declared.name!r} from {declared.field} to {declared.collection}"
    if declared.inverse:
        sentence += f", inverse {declared.inverse!r}"
    if declared.integrity == RelationIntegrity.CHECK:
        sentence += ", checked"
    if relation.state is not None:
        sentence += f": {relation.state}"
    if relation.dangling is not None and relation.dangling.count:
        count, ids = relation.dangling.count, ", ".join(relation.dangling.record_ids)
        sentence += f". {count:,} references have no record, for example those of {ids}"
    return f"{sentence}."


def _integrity(value: dict[str, Any]) -> Any:
    return value.get("integrity", "none")


def _inverse(value: dict[str, Any]) -> Any:
    return value.get("inverse", "")
