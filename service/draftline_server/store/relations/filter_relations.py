"""The relations that a filter follows, looked up in the collection specs."""

from __future__ import annotations

from ...domain.collections import CollectionSpec
from ...domain.filters.ast import Filter, Restriction
from ...domain.filters.related import Reach, RelatedFields, fields_of, names_of, next_relation
from ...domain.relations import relations_of
from ..collections.cache import CollectionSpecs
from .steps import ready


async def related_fields(
    specs: CollectionSpecs, tenant_id: str, spec: CollectionSpec, tree: Filter[Restriction] | None
) -> RelatedFields | None:
    """Return what a filter reaches by relations; None if it follows none.

    Raise RelationNotReadyError if the entries of an inverse are being built.
    """
    found = RelatedFields(spec.collection)
    for field in fields_of(tree):
        collection, names = spec.collection, names_of(field)
        while len(names) > 1:
            reach = found.reached.get(collection) or await _reach(specs, tenant_id, collection)
            step = next_relation(reach, names)
            if step is None:
                break
            relation = await ready(specs, tenant_id, collection, step[0])
            found.reached[collection] = Reach({**reach.relations, relation.name: relation}, reach.fields)
            collection, names = relation.target, step[1]
        if collection != spec.collection or found.reached:
            found.reached.setdefault(collection, await _reach(specs, tenant_id, collection))
    return found if found.reached else None


async def _reach(specs: CollectionSpecs, tenant_id: str, collection: str) -> Reach:
    spec = await specs.current(tenant_id, collection)
    return Reach(relations_of(collection, spec.relations, spec.inverses), spec.fields)
