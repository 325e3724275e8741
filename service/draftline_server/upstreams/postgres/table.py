"""A table as the database has it, and the statements over it. Rows are read and written as JSON objects."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from draftline.upstreams import RemoteRecord
from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    MetaData,
    Row,
    Select,
    Text,
    cast,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy import Table as SqlTable
from sqlalchemy import column as sql_column
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import UserDefinedType

from ..definitions import Table
from ..field_mapping import FieldTranslator

decode = msgspec.json.Decoder(float_hook=Decimal).decode
encode = msgspec.json.Encoder(decimal_format="number").encode


COLUMNS = text("""
    SELECT attname AS name, format_type(atttypid, atttypmod) AS type,
        attidentity = 'a' OR attgenerated <> '' AS is_generated
    FROM pg_attribute
    WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped ORDER BY attnum""")
UNIQUE_COLUMNS = text("""
    SELECT attname FROM pg_index
    JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
    WHERE indrelid = to_regclass(:name) AND indisunique AND indisvalid AND indnkeyatts = 1 AND indpred IS NULL""")


class SqlType(UserDefinedType[Any]):
    """A type by its name in PostgreSQL. Values are always cast from text."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        """Return the name."""
        return self.name


class InvalidTableError(Exception):
    """The table is not as the operator's file says."""


class ReflectedTable:
    """The columns of a table with their roles. Build it by `reflect` in a transaction."""

    def __init__(self, definition: Table, table: SqlTable, fields: FieldTranslator, generated: Collection[str]) -> None:
        self.definition = definition
        self.table = table
        columns: list[Column[Any]] = [
            Column("key", Text),
            Column("remote_id", Text),
            Column("at", DateTime(timezone=True)),
        ]
        self.applied = SqlTable("draftline_applied", table.metadata, *columns, schema=definition.schema)
        self.fields = fields
        self.key = self._column(definition.key)
        self.version = self._column(definition.version)
        self.updated = self._column(definition.updated)
        self.deleted = self._column(definition.deleted)
        self.reference = self._column(definition.reference)
        self.transaction_id = self._column(definition.transaction_id)
        if self.deleted is not None and not (self._is_flag or is_time(self.deleted)):
            raise InvalidTableError(f"the column {definition.deleted} must be boolean or a timestamp")
        if definition.key in generated and not definition.generated_key:
            raise InvalidTableError(f"the database generates the column {definition.key}; set generated_key")
        roles = (definition.key, definition.version, definition.updated, definition.deleted, definition.transaction_id)
        self._roles = {name for name in (*roles, definition.reference) if name}
        self.columns = {each.name: each for each in table.columns if each.name not in self._roles}
        self.generated = {name for name in self.columns if name in generated}  # by the database, always

    def _column(self, name: str | None) -> Any:
        if name is None:
            return None
        if name not in self.table.columns:
            raise InvalidTableError(f"the table has no column {name}")
        return self.table.columns[name]

    @property
    def version_now(self) -> ColumnElement[str]:
        """The version of a row: the column, or the transaction that wrote the row."""
        if self.version is not None:
            return cast(self.version, Text)
        return cast(literal_column(f'"{self.table.name}".xmin'), Text)

    @property
    def _is_flag(self) -> bool:
        return bool(self.deleted.type.name == "boolean")

    @property
    def is_deleted(self) -> ColumnElement[Any]:
        """Return whether a row is marked as deleted: by a flag, or by the time of its deletion."""
        if self.deleted is None:
            return literal_column("false", Boolean)
        if self._is_flag:
            return func.coalesce(self.deleted, False)
        marked: ColumnElement[Any] = self.deleted.is_not(None)
        return marked

    def deletion_mark(self, *, deleted: bool) -> dict[str, Any]:
        """Return the value that marks a row as deleted, or as not deleted; nothing if deletions remove rows."""
        if self.deleted is None:
            return {}
        if self._is_flag:
            return {self.deleted.name: deleted}
        return {self.deleted.name: func.clock_timestamp() if deleted else None}

    def rows(self) -> Select[Any]:
        """Return the statement that reads whole rows."""
        row: ColumnElement[Any] = literal_column(f'to_jsonb("{self.table.name}")')
        reference = cast(self.reference, Text) if self.reference is not None else cast(self.key, Text)
        return select(
            cast(self.key, Text).label("key"),
            self.version_now.label("version"),
            reference.label("reference"),
            self.is_deleted.label("deleted"),
            cast(row, Text).label("row"),
        ).select_from(self.table)

    def record(self, row: Row[Any]) -> RemoteRecord:
        """Return a row of `rows` as a record."""
        is_reference = self.reference is not None or not self.definition.generated_key
        return RemoteRecord(
            remote_id=row.key,
            remote_version=row.version or "",
            record_id=(row.reference or "") if is_reference else "",
            deleted=row.deleted,
            document={} if row.deleted else self.fields.document_in(self.content(row)),
        )

    def content(self, row: Row[Any]) -> dict[str, Any]:
        """Return the content of a row in the names of the columns. A column that is null is missing."""
        values = decode(row.row)
        return {name: values[name] for name in self.columns if values.get(name) is not None}

    def by_key(self, remote_ids: Sequence[str]) -> ColumnElement[bool]:
        """Return the condition for rows with these keys. Ids that cannot be keys are left out."""
        possible = [self.typed_key(each) for each in remote_ids if self.can_be_key(each)]
        condition: ColumnElement[bool] = self.key.in_(possible)
        return condition

    def typed_key(self, remote_id: str) -> ColumnElement[Any]:
        """Return an id in the type of the key."""
        return cast(cast(remote_id, Text), self.key.type)

    def can_be_key(self, remote_id: str) -> bool:
        """Return whether an id has the form of the key's type."""
        if self.key.type.name in ("smallint", "integer", "bigint"):
            digits = remote_id.removeprefix("-")
            return digits.isascii() and digits.isdecimal() and abs(int(digits[:20])) < 2**63 and len(digits) < 20
        if self.key.type.name == "uuid":
            try:
                return bool(uuid.UUID(remote_id))
            except ValueError:
                return False
        return "\0" not in remote_id

    @property
    def is_timed(self) -> bool:
        """Return whether the updated column is a time."""
        return self.updated is not None and is_time(self.updated)

    def typed(self, names: Sequence[str], content: Mapping[str, Any]) -> Select[Any]:
        """Return a statement for one row: the values of these columns, in their types."""
        sent = encode({name: content.get(name) for name in names}).decode()
        schema, table = self.table.schema, self.table.name
        populated = func.jsonb_populate_record(
            literal_column(f'NULL::"{schema}"."{table}"'), cast(cast(sent, Text), SqlType("jsonb"))
        ).table_valued(*[sql_column(name) for name in names], name="sent")
        return select(*[populated.c[name] for name in names])

    def stamps(self) -> dict[str, Any]:
        """Return the values of the columns that the connector maintains with each write."""
        stamps: dict[str, Any] = {}
        if self.version is not None:
            stamps[self.version.name] = self.version + 1
        if self.is_timed:
            stamps[self.updated.name] = func.clock_timestamp()
        if self.transaction_id is not None:
            stamps[self.transaction_id.name] = func.pg_current_xact_id()
        return stamps


async def reflect(connection: AsyncConnection, definition: Table, fields: FieldTranslator) -> ReflectedTable:
    """Return the table as the database has it. Raise InvalidTableError if it does not fit the definition."""
    name = f'"{definition.schema}"."{definition.table}"'
    columns = (await connection.execute(COLUMNS, {"name": name})).all()
    if not columns:
        raise InvalidTableError(f"there is no table {definition.schema}.{definition.table}")
    described = [Column(each.name, SqlType(each.type)) for each in columns]
    table = SqlTable(definition.table, MetaData(), *described, schema=definition.schema)
    unique = set((await connection.execute(UNIQUE_COLUMNS, {"name": name})).scalars())
    for role in (definition.key, definition.reference):
        if role is not None and role not in unique:
            raise InvalidTableError(f"the column {role} needs a unique index")
    generated = {each.name for each in columns if each.is_generated}
    return ReflectedTable(definition, table, fields, generated)


def is_time(column: Any) -> bool:
    """Return whether a column is a timestamp."""
    return str(column.type.name).startswith("timestamp")
