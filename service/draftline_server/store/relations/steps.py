"""The relations that the paths of `expand` name, looked up in the collection specs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...domain.errors import InvalidFieldError, RelationNotReadyError
from ...domain.filters.ast import Path
from ...domain.relations import Direction, Relation, relations_of
from ..collections.cache import CollectionSpecs


@dataclass(slots=True)
class Step:
    """A relation to follow, and the relations to follow from the records that it leads to."""

    relation: Relation
    steps: dict[str, Step] = field(default_factory=dict)


async def steps_of(specs: CollectionSpecs, tenant_id: str, collection: str, paths: Sequence[Path]) -> dict[str, Step]:
    """Return the relations that start from a collection, by their names.

    Raise InvalidFieldError if a relation does not exist, or leads back by the inverse of the one before it.
    Raise RelationNotReadyError if the entries of an inverse are being built.
    """
    roots: dict[str, Step] = {}
    for index, path in enumerate(paths):
        steps, source = roots, collection
        before: Relation | None = None
        for name in path:
            if before is not None and name == before.opposite:
                problem = f"{name!r} leads back from {source!r} as the inverse of {before.name!r}"
                raise InvalidFieldError.of(f"expand[{index}]", f"{'.'.join(path)!r} is a cycle: {problem}")
            if name not in steps:
                steps[name] = Step(await _relation(specs, tenant_id, source, name, f"expand[{index}]"))
            before = steps[name].relation
            steps, source = steps[name].steps, before.target
    return roots


async def _relation(specs: CollectionSpecs, tenant_id: str, collection: str, name: str, where: str) -> Relation:
    spec = await specs.current(tenant_id, collection)
    relations = relations_of(collection, spec.relations, spec.inverses)
    if name not in relations:
        known = ", ".join(sorted(relations))
        raise InvalidFieldError.of(where, f"collection {collection!r} has no relation {name!r}; it has {known}")
    return await ready(specs, tenant_id, collection, relations[name])


async def ready(specs: CollectionSpecs, tenant_id: str, collection: str, relation: Relation) -> Relation:
    """Return a relation whose entries are complete. Raise RelationNotReadyError if they are being built."""
    if relation.direction is not Direction.INVERSE or relation.order_id is not None:
        return relation
    await specs.load(tenant_id, [collection])  # the cached spec may be from before the end of the build
    for each in specs.known(tenant_id, collection).inverses:
        if each.name == relation.name and each.order_id is not None:
            return each
    raise RelationNotReadyError(
        f"the index of relation {relation.name!r} of {collection!r} is being built; try again when GetCollection of "
        f"{relation.target!r} reports that it is ready",
        collection=relation.target,
        relation=relation.name,
    )
