"""The declared relations of collections, as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...domain.relations import Direction, Relation, RelationSpec


def to_json(spec: RelationSpec) -> dict[str, Any]:
    return {"name": spec.name, "path": spec.path, "collection": spec.collection, "inverse": spec.inverse}


def from_json(stored: Mapping[str, Any]) -> RelationSpec:
    return RelationSpec(stored["name"], tuple(stored["path"]), stored["collection"], stored["inverse"])


def inverse_of(stored: Mapping[str, Any]) -> Relation:
    """Return the inverse of another collection's relation."""
    return Relation(
        stored["name"],
        Direction.INVERSE,
        stored["collection"],
        tuple(stored["path"]),
        stored["opposite"],
        stored["order_id"],
    )
