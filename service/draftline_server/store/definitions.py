"""Declarations of collections, kept in memory.

A copy may be out of date: every write tells the database which version of the
declaration it was checked against, and is refused as stale there if another one
holds. A collection that is not in memory is taken for undeclared until then, so
that the first write of an undeclared collection needs no look-up.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import NoReturn, TypeVar

import asyncpg
import jsonschema_rs
import msgspec

from ..domain.changes import History
from ..domain.content import check_number
from ..domain.definitions import Definition, IndexKey
from ..domain.edits import format_pointer
from ..domain.errors import ContentionError, InvalidFieldError, SchemaViolationError
from ..domain.query import FieldType
from .engine import Database
from .statements import load

SQL = load("collections")
T = TypeVar("T")

_parse = msgspec.json.Decoder(float_hook=Decimal).decode

MAX_KEPT = 10_000  # definitions in memory, of all tenants
READ_AGE_S = 1.0  # how old a declaration may be that a read is typed by
MAX_STALE = 5  # times that a call finds its definition changed again


class StaleDefinitionError(Exception):
    """A write was checked against a declaration that no longer holds; nothing was written."""


class CheckedDefinition:
    """A definition with its JSON Schema ready to use."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition

    @cached_property
    def validator(self) -> jsonschema_rs.Validator | None:
        return compile_schema(self.definition.json_schema) if self.definition.json_schema else None

    def check(self, content: str, where: str) -> None:
        """SchemaViolationError unless content, as JSON text, satisfies the schema; numbers are exact."""
        if self.validator is None:
            return
        try:
            self.validator.validate(_parse(content))
        except jsonschema_rs.ValidationError as error:
            path = format_pointer([str(token) for token in error.instance_path])
            problem = f"breaks the collection's JSON Schema at {path or 'its root'}: {_problem(error)}"
            raise SchemaViolationError(f"{where}: {problem}", fields=[(where, problem)], path=path) from None


def compile_schema(text: str) -> jsonschema_rs.Validator:
    """A validator that fetches nothing: `$ref` must stay within the schema."""
    try:
        schema = json.loads(text, parse_float=_number, parse_constant=_refuse_constant)
        if not isinstance(schema, dict | bool):
            raise InvalidFieldError.of("json_schema", "a JSON Schema is an object or a boolean")
        return jsonschema_rs.validator_for(schema, retriever=_refuse_retrieval)
    except (ValueError, RecursionError) as error:
        problem = str(error) if isinstance(error, jsonschema_rs.ValidationError) else "is no valid JSON Schema"
        raise InvalidFieldError.of("json_schema", problem[:500]) from None


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text} is too large") from error
    check_number(number, "json_schema")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refuse_retrieval(uri: str) -> NoReturn:
    raise ValueError(f"$ref must stay within the schema, not lead to {uri}")


def _problem(error: jsonschema_rs.ValidationError) -> str:
    # The message quotes the value; a caller who may write it may read it, but not at any length.
    return error.message if len(error.message) <= 300 else error.message[:300] + "…"


class Definitions:
    """The declarations that this process has seen, by tenant and collection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: OrderedDict[tuple[str, str], CheckedDefinition] = OrderedDict()
        self._loaded_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def known(self, tenant_id: str, collection: str) -> CheckedDefinition:
        """What memory holds; the empty definition where it holds nothing."""
        kept = self._kept.get((tenant_id, collection))
        return kept or CheckedDefinition(Definition(collection))

    async def current(self, tenant_id: str, collection: str) -> CheckedDefinition:
        """The declaration for a read: at most READ_AGE_S old."""
        key = (tenant_id, collection)
        if time.monotonic() - self._loaded_at.get(key, -READ_AGE_S) >= READ_AGE_S:
            await self.load(tenant_id, [collection])
        return self.known(tenant_id, collection)

    async def load(self, tenant_id: str, collections: Collection[str]) -> Mapping[str, CheckedDefinition]:
        """Reads declarations anew; those that do not exist are missing from the answer."""
        rows = await self._database.fetch(
            SQL["get_definitions"], {"tenant_id": tenant_id, "collections": list(collections)}, resend=True
        )
        loaded = {row["collection"]: CheckedDefinition(definition_of(row)) for row in rows}
        for collection in collections:
            self._kept.pop((tenant_id, collection), None)
            self._loaded_at[tenant_id, collection] = time.monotonic()
            if collection in loaded:
                self._kept[tenant_id, collection] = loaded[collection]
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        while len(self._loaded_at) > MAX_KEPT:
            self._loaded_at.popitem(last=False)
        return loaded

    async def until_fresh(self, tenant_id: str, collections: Collection[str], attempt: Callable[[], Awaitable[T]]) -> T:
        """Runs `attempt` until it does not find the declarations in memory stale."""
        for _ in range(MAX_STALE):
            try:
                return await attempt()
            except StaleDefinitionError:
                await self.load(tenant_id, collections)
        raise ContentionError("the collection's declaration keeps changing; nothing was written, try again")


def definition_of(row: asyncpg.Record) -> Definition:
    fields = {tuple(entry["path"]): FieldType(entry["type"]) for entry in json.loads(row["fields"])}
    orders = tuple(
        tuple(IndexKey(tuple(key["path"]), fields[tuple(key["path"])], key["descending"]) for key in order)
        for order in json.loads(row["orders"])
    )
    return Definition(
        row["collection"],
        fields,
        orders,
        row["json_schema"],
        row["version"],
        row["created_at"],
        row["updated_at"],
        History(row["history"]),
    )
