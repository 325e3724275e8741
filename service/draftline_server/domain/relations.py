"""Relations between records: those of a collection spec, and the paths by which reads follow them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from .edits import format_pointer
from .errors import InvalidFieldError
from .filters.ast import FieldType, Path
from .values import value_class

MAX_DEPTH = 3  # relations in one path
DEFAULT_LIMIT = 100  # related records of one record, by one relation
MAX_LIMIT = 1_000
MAX_NAMED = 10  # ids that an error or a report gives as examples
PARENT, CHILDREN = "parent", "children"
RESERVED = (PARENT, CHILDREN, "content", "record")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Integrity(StrEnum):
    """The treatment of writes that would leave a relation with an id without a live record."""

    NONE = "NONE"  # accepted
    CHECK = "CHECK"  # refused: references to missing records, and deletions of records that are referred to


@value_class
class RelationSpec:
    """A declared relation: the records of `collection` whose ids the field at `path` holds."""

    name: str
    path: Path
    collection: str
    inverse: str = ""  # the name of the opposite direction, in `collection`; empty: none
    integrity: Integrity = Integrity.NONE

    @property
    def has_index(self) -> bool:
        """Return whether the ids have entries, by which the records that name one are found."""
        return bool(self.inverse) or self.integrity is Integrity.CHECK


class Direction(StrEnum):
    """The way in which a relation leads from one record to others."""

    FIELD = "FIELD"  # a field holds their ids
    INVERSE = "INVERSE"  # a field of theirs holds the id
    PARENT = "PARENT"
    CHILDREN = "CHILDREN"


@value_class
class Relation:
    """A relation as seen from a collection: `name` leads from its records to those of `target`."""

    name: str
    direction: Direction
    target: str
    path: Path = ()  # of the field: of the collection itself, or with INVERSE of the target
    opposite: str = ""  # the name that leads back, from the target
    order_id: int | None = None  # INVERSE: of the entries; None: they are being built


def relations_of(
    collection: str, declared: Sequence[RelationSpec], inverses: Sequence[Relation]
) -> dict[str, Relation]:
    """Return all relations of a collection by their names."""
    built_in = [
        Relation(PARENT, Direction.PARENT, collection, opposite=CHILDREN),
        Relation(CHILDREN, Direction.CHILDREN, collection, opposite=PARENT),
    ]
    own = [Relation(each.name, Direction.FIELD, each.collection, each.path, each.inverse) for each in declared]
    return {each.name: each for each in [*inverses, *own, *built_in]}


def declare_relations(
    collection: str, declared: Sequence[RelationSpec], fields: Mapping[Path, FieldType]
) -> tuple[RelationSpec, ...]:
    """Return the relations of a spec.

    Raise InvalidFieldError if a name is not valid, reserved or used twice, or hides fields that are declared, or if a
    field is declared with a type that no id has.
    """
    names: dict[str, str] = {}
    for index, each in enumerate(declared):
        where = f"relations[{index}]"
        _check_name(each.name, f"{where}.name", names, fields)
        if fields.get(each.path) in (FieldType.NUMBER, FieldType.BOOLEAN):
            problem = f"{format_pointer(each.path)} is declared as {fields[each.path]}, but ids are texts"
            raise InvalidFieldError.of(f"{where}.field", f"{problem}: declare it as TEXT, or not at all")
        if each.inverse and each.collection == collection:
            _check_name(each.inverse, f"{where}.inverse", names, fields)
        elif each.inverse:
            _check_name(each.inverse, f"{where}.inverse", {}, {})
    pairs = [(each.collection, each.inverse) for each in declared if each.inverse]
    for index, pair in enumerate(pairs):
        if pair in pairs[:index]:
            raise InvalidFieldError.of("relations", f"{pair[1]!r} is the inverse of two relations to {pair[0]!r}")
    return tuple(declared)


def _check_name(name: str, where: str, names: dict[str, str], fields: Mapping[Path, object]) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidFieldError.of(where, "must be 1 to 64 letters, digits and underscores, and not start with a digit")
    if name in RESERVED:
        raise InvalidFieldError.of(where, f"must not be one of {', '.join(RESERVED)}")
    if name in names:
        raise InvalidFieldError.of(where, f"{name!r} is also {names[name]}")
    refuse_hidden(name, fields, where, repr(name))
    names[name] = where


def refuse_hidden(name: str, fields: Mapping[Path, object], where: str, relation: str) -> None:
    """Raise InvalidFieldError if filters by declared fields would mean the relation instead."""
    for path in fields:
        if len(path) > 1 and path[0] == name:
            problem = f"{relation} would hide the declared field {format_pointer(path)} in filters"
            raise InvalidFieldError.of(where, f"{problem}: choose another name, or do not declare the field")


def check_names(
    collection: str, declared: Sequence[RelationSpec], inverses: Sequence[Relation], fields: Mapping[Path, object]
) -> None:
    """Raise InvalidFieldError if a name means two relations of a collection, or hides one of its declared fields."""
    sources = [(each.name, collection) for each in declared] + [(each.name, each.target) for each in inverses]
    seen: dict[str, str] = {}
    for name, source in sources:
        if name in seen:
            raise InvalidFieldError.of(
                "relations",
                f"{name!r} would be two relations of {collection!r}, declared by {seen[name]!r} and {source!r}",
            )
        relation = repr(name) if source == collection else f"{name!r}, an inverse that {source!r} declares,"
        refuse_hidden(name, fields, "relations", relation)
        seen[name] = source


def parse_expand(texts: Sequence[str]) -> list[Path]:
    """Return the paths of relations. Raise InvalidFieldError if one is empty, too long or repeated."""
    paths: list[Path] = []
    for index, text in enumerate(texts):
        path = tuple(text.split("."))
        if not all(path):
            raise InvalidFieldError.of(f"expand[{index}]", f"{text!r} must be names of relations, separated by dots")
        if len(path) > MAX_DEPTH:
            raise InvalidFieldError.of(
                f"expand[{index}]", f"{text!r} has {len(path)} relations, and may have {MAX_DEPTH}"
            )
        if path in paths:
            raise InvalidFieldError.of(f"expand[{index}]", f"{text!r} is also expand[{paths.index(path)}]")
        paths.append(path)
    return paths
