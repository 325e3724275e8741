"""The declared relations of collections, as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...domain.relations import Direction, Integrity, Relation, RelationSpec


def to_json(spec: RelationSpec) -> dict[str, Any]:
    stored = {"name": spec.name, "path": spec.path, "collection": spec.collection, "inverse": spec.inverse}
    if spec.integrity is Integrity.CHECK:  # draftline.relation_orders adds an order for RESTRICT
        stored |= {"integrity": "CHECK", "on_delete": "RESTRICT"}
    return stored


def from_json(stored: Mapping[str, Any]) -> RelationSpec:
    integrity = Integrity(stored.get("integrity", "NONE"))
    return RelationSpec(stored["name"], tuple(stored["path"]), stored["collection"], stored["inverse"], integrity)


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
