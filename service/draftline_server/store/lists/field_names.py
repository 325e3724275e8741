"""Names in filters, orders and field masks that a collection does not have, so that a typing error is not silent.

A name is known if the collection spec declares it, the JSON Schema describes it, a record of the page has it, or a
record of a sample has it: the first SAMPLED records of the collection and of the caller's drafts. In a collection
without records and without a spec, nothing can be said, and every name counts as known.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...domain.collections import CollectionSpec
from ...domain.errors import InvalidFieldError
from ...domain.filters.ast import Path
from ...domain.filters.named_fields import NamedField, SchemaNames, nearest, spelled
from ...domain.records import Actor
from ..collections.cache import CollectionSpecs
from ..database import Database
from ..statements import load

SQL = load("field_names")

SAMPLED = 200  # records, and drafts of the caller
MAX_NAMES = 500  # to suggest one of
PAGE_RECORDS = 10  # of the page, which are examined first
MAX_CACHED = 10_000  # paths of all tenants together
KNOWN_AGE_S = 300.0
UNKNOWN_AGE_S = 5.0  # so that the warning ends soon after a record gets the field


@dataclass(frozen=True, slots=True)
class UnknownField:
    """A name that the collection does not have, and the most similar known one; empty if none is similar."""

    field: NamedField
    suggestion: str

    @property
    def message(self) -> str:
        hint = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        return f"no field {self.field.name} is declared, described by the JSON Schema, or in the first records{hint}"


@dataclass(frozen=True, slots=True)
class _Sampled:
    """The finding of the sample about a path."""

    is_known: bool
    siblings: tuple[str, ...]
    found_at: float

    def is_current(self) -> bool:
        return time.monotonic() - self.found_at < (KNOWN_AGE_S if self.is_known else UNKNOWN_AGE_S)


class FieldNames:
    """Finds unknown names. What the sample had is cached by tenant, user, collection and path."""

    def __init__(self, database: Database, specs: CollectionSpecs) -> None:
        self._database = database
        self._specs = specs
        self._cache: OrderedDict[tuple[str, str, str, Path], _Sampled] = OrderedDict()

    async def unknown(
        self, actor: Actor, collection: str, named: Sequence[NamedField], contents: Sequence[str] = ()
    ) -> list[UnknownField]:
        """Return the names that the collection does not have. `contents` are records of it that were read anyway."""
        if not named:
            return []
        spec = await self._specs.current(actor.tenant_id, collection)
        open_fields = [each for each in named if not _is_specified(spec, each.path)]
        open_fields = [each for each in open_fields if not is_in(contents, each.path)]
        if not open_fields:
            return []
        sampled = await self._sampled(actor, collection, {each.path for each in open_fields}, spec)
        return [
            UnknownField(each, _suggestion(spec, each.path, sampled[each.path].siblings))
            for each in open_fields
            if not sampled[each.path].is_known
        ]

    async def reject_unknown(self, actor: Actor, collection: str, named: Sequence[NamedField]) -> None:
        """Raise InvalidFieldError for the first name that the collection does not have."""
        for each in await self.unknown(actor, collection, named):
            argument = each.field.argument
            raise InvalidFieldError(
                f"{argument}: {each.message}",
                fields=[(argument, each.message)],
                name=each.field.name,
                suggestion=each.suggestion or None,
            )

    async def _sampled(
        self, actor: Actor, collection: str, paths: set[Path], spec: CollectionSpec
    ) -> dict[Path, _Sampled]:
        keys = {path: (actor.tenant_id, actor.user_id, collection, path) for path in paths}
        kept = {path: found for path, key in keys.items() if (found := self._cache.get(key)) and found.is_current()}
        wanted = sorted(paths - kept.keys())
        if wanted:
            values = {
                "tenant_id": actor.tenant_id, "user_id": actor.user_id, "collection": collection,
                "records": SAMPLED, "names": MAX_NAMES,
                "paths": [_jsonpath(path) for path in wanted], "parents": [_jsonpath(path[:-1]) for path in wanted],
            }  # fmt: skip
            rows = await self._database.fetch(SQL["sampled_fields"], values, idempotent=True)
            by_path = {row["path"]: row for row in rows}
            for path in wanted:
                row = by_path[_jsonpath(path)]
                says_nothing = not row["has_records"] and not spec.version
                kept[path] = _Sampled(
                    row["is_present"] or says_nothing, tuple(sorted(row["siblings"])), time.monotonic()
                )
                if not says_nothing:
                    self._cache[keys[path]] = kept[path]
                    self._cache.move_to_end(keys[path])
            while len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)
        return kept


def _is_specified(spec: CollectionSpec, path: Path) -> bool:
    """Return True if the path is declared, leads to a declared field or related records, or is in the JSON Schema."""
    names = {each.name for each in spec.relations} | {each.name for each in spec.inverses}
    if len(path) > 1 and path[0] in names:
        return True
    if any(declared[: len(path)] == path for declared in spec.fields):
        return True
    return bool(spec.json_schema) and _schema_names(spec.json_schema).describes(path)


@lru_cache(maxsize=256)
def _schema_names(schema: str) -> SchemaNames:
    return SchemaNames(json.loads(schema))


def is_in(contents: Sequence[str], path: Path) -> bool:
    """Return True if one of the first contents has a value at the path."""
    # A name that is not in the text at all, which is usual for a wrong one, needs no parsing.
    last = json.dumps(path[-1], ensure_ascii=False)
    return any(has_path(json.loads(text), path) for text in contents[:PAGE_RECORDS] if last in text)


def has_path(value: Any, path: Path) -> bool:
    """Return True if a JSON value has a value at the path, through objects and arrays."""
    if not path:
        return True
    if isinstance(value, list):
        return any(isinstance(each, dict) and has_path(each, path) for each in value)
    return isinstance(value, dict) and path[0] in value and has_path(value[path[0]], path[1:])


def _suggestion(spec: CollectionSpec, path: Path, siblings: Sequence[str]) -> str:
    """Return the most similar known field, as a filter writes it; empty if none is similar."""
    parent = path[:-1]
    known = [each[len(parent)] for each in spec.fields if len(each) > len(parent) and each[: len(parent)] == parent]
    if spec.json_schema:
        known += _schema_names(spec.json_schema).names(parent)
    found = nearest(path[-1], [*known, *siblings])
    return spelled((*parent, found)) if found else ""


def _jsonpath(path: Path) -> str:
    return "$" + "".join(f".{json.dumps(name)}" for name in path)
