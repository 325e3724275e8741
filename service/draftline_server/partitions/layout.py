"""The layout of a partitioned database, as SQL text.

Tables that hold rows by record or by draft are partitioned by LIST (tenant_id): big tenants have a partition each, and
the default partition, `<table>_rest`, is partitioned by HASH (tenant_id) for all others. A row never moves between the
partitions of the rest, and all rows of a tenant are in one partition of each table.

The statements contain no values but names, bounds and comments, which are quoted here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from ..domain.visible_text import visible_json
from ..store.statements import DIALECT
from .definitions import Grant, Index, LayoutError, TableDefinition

SCHEMA = "draftline"
TABLES = ("record", "draft", "order_entry", "draft_order_entry", "tally", "sync_record")
"""The tables that are partitioned, in the order in which locks on them are taken.

Not `change`, which is partitioned by week, because old weeks are dropped; nor `request`, whose rows expire within days;
nor the tables that have few rows for each tenant.
"""

MODULUS = 16
MAX_NAME = 63  # bytes of a name in PostgreSQL
_ON_TABLE = re.compile(r' ON (?:draftline|"draftline")\.\S+ ')


def quoted(name: str) -> str:
    """Return a name as a quoted identifier, if it needs quotes."""
    return str(DIALECT.identifier_preparer.quote(name))


def literal(text: str) -> str:
    """Return a text as a literal, whatever standard_conforming_strings is.

    Its control characters are escapes of SQL, because a dry run prints statements: an escape by `echo` would be another
    text.
    """
    escaped = visible_json(text.replace("\\", "\\\\")).replace("'", "''")  # \uXXXX is also an escape of SQL
    return f"E'{escaped}'" if "\\" in escaped else f"'{escaped}'"


def qualified(name: str) -> str:
    return f"{SCHEMA}.{quoted(name)}"


def with_suffix(name: str, suffix: str) -> str:
    """Return the name of a table or index while it is not in use: `record_new`, `record_pkey_old`."""
    result = name + suffix
    if len(result.encode()) > MAX_NAME:
        raise LayoutError(f"the name {result} is longer than {MAX_NAME} bytes", f"rename {name}")
    return result


def rest_of(table: str) -> str:
    """Return the name of the default partition."""
    return f"{table}_rest"


def hash_partition(table: str, remainder: int) -> str:
    return f"{table}_rest_{remainder:02}"


def tenant_partition(table: str, tenant_id: str) -> str:
    """Return the name of the partition that a tenant has of a table, if it has its own."""
    return f"{table}_tenant_{hashlib.sha256(tenant_id.encode()).hexdigest()[:16]}"


def creation(
    definition: TableDefinition, suffix: str = "_new", tenants: Iterable[str] = (), modulus: int = MODULUS
) -> list[str]:
    """Return the statements that create an empty, partitioned copy of a table.

    The copy and its indexes have the names of the originals with the suffix. The partitions have their final names,
    and `tenants` have one each. Triggers are not created; see `triggers`.
    """
    copy = with_suffix(definition.name, suffix)
    partitions = [
        *(tenant_creation(definition, tenant_id, copy) for tenant_id in tenants),
        *_rest_creation(definition, copy, modulus),
    ]
    return [
        *parent_creation(definition, suffix),
        *(statement for statements in partitions for statement in statements),
    ]


def parent_creation(definition: TableDefinition, suffix: str) -> list[str]:
    """Return the statements that create a copy of a table, with its indexes, that has no partition yet."""
    table, copy = definition.name, with_suffix(definition.name, suffix)
    return [
        *in_tablespace(
            definition.tablespace,
            f"CREATE TABLE {qualified(copy)} (LIKE {qualified(table)} INCLUDING ALL EXCLUDING INDEXES)"
            " PARTITION BY LIST (tenant_id)",
        ),
        *(
            statement
            for index in definition.indexes
            for statement in in_tablespace(index.tablespace, index_creation(index, copy, suffix))
        ),
        *(
            f"COMMENT ON INDEX {qualified(with_suffix(index.name, suffix))} IS {literal(index.comment)}"
            for index in definition.indexes
            if index.comment is not None
        ),
        *([f"COMMENT ON TABLE {qualified(copy)} IS {literal(definition.comment)}"] if definition.comment else []),
        *properties(definition, copy, suffix, is_parent=True),
    ]


def in_tablespace(tablespace: str | None, statement: str) -> list[str]:
    """Return the statement with those that make PostgreSQL use a tablespace for it; None: that of the database.

    Partitions and their indexes get the tablespace of their parents.
    """
    setting = "SET LOCAL default_tablespace = "
    return [statement] if tablespace is None else [setting + literal(tablespace), statement, f"{setting}''"]


def _rest_creation(definition: TableDefinition, parent: str, modulus: int) -> list[list[str]]:
    """Return the statements for the default partition and for each of its partitions."""
    table = definition.name
    rest = rest_of(table)
    created = [
        [
            f"CREATE TABLE {qualified(rest)} PARTITION OF {qualified(parent)} DEFAULT PARTITION BY HASH (tenant_id)",
            *properties(definition, rest, None, is_parent=True),
        ]
    ]
    for remainder in range(modulus):
        name = hash_partition(table, remainder)
        bound = f"FOR VALUES WITH (MODULUS {modulus}, REMAINDER {remainder})"
        created.append(
            [
                f"CREATE TABLE {qualified(name)} PARTITION OF {qualified(rest)} {bound}{storage(definition)}",
                *properties(definition, name, None, is_parent=False),
            ]
        )
    return created


def tenant_creation(definition: TableDefinition, tenant_id: str, parent: str) -> list[str]:
    """Return the statements that create the partition of a tenant, of which the default partition has no rows."""
    name = tenant_partition(definition.name, tenant_id)
    created = f"PARTITION OF {qualified(parent)} FOR VALUES IN ({literal(tenant_id)})"
    return [
        f"CREATE TABLE {qualified(name)} {created}{storage(definition)}",
        f"COMMENT ON TABLE {qualified(name)} IS {literal(TENANT_COMMENT + tenant_id)}",
        *properties(definition, name, None, is_parent=False),
    ]


TENANT_COMMENT = "tenant "


def tenant_of(comment: str | None) -> str | None:
    """Return the tenant that a partition belongs to, by its comment; None: a part of the rest."""
    return comment.removeprefix(TENANT_COMMENT) if comment and comment.startswith(TENANT_COMMENT) else None


def index_creation(index: Index, table: str, suffix: str) -> str:
    """Return the statement that creates an index, or the constraint that it belongs to, on another table."""
    name = quoted(with_suffix(index.name, suffix))
    if index.is_constraint:
        return f"ALTER TABLE {qualified(table)} ADD CONSTRAINT {name} {index.definition}"
    return f"CREATE {'UNIQUE ' if index.is_unique else ''}INDEX {name} ON {qualified(table)} {index.definition}"


def properties(definition: TableDefinition, table: str, suffix: str | None, *, is_parent: bool) -> list[str]:
    """Return the statements for what neither LIKE nor PARTITION OF copies: owner, grants, statistics and identity.

    `suffix` is that of the indexes of the table; None: PostgreSQL named them, so a replica identity is not set.
    """
    name = qualified(table)
    statements = [f"ALTER TABLE {name} OWNER TO {quoted(definition.owner)}"] if definition.owner else []
    changes = _column_changes(definition, is_parent=is_parent)
    if changes:
        statements.append(f"ALTER TABLE {name} {', '.join(changes)}")
    if definition.replica_identity in ("f", "n"):
        identity = "FULL" if definition.replica_identity == "f" else "NOTHING"
        statements.append(f"ALTER TABLE {name} REPLICA IDENTITY {identity}")
    elif definition.replica_index is not None and suffix is not None:
        index = quoted(with_suffix(definition.replica_index, suffix))
        statements.append(f"ALTER TABLE {name} REPLICA IDENTITY USING INDEX {index}")
    for role in definition.default_roles:
        statements.append(f"REVOKE ALL ON {name} FROM {_role(role)}")
    return [*statements, *(_grant(grant, name) for grant in definition.grants)]


def _column_changes(definition: TableDefinition, *, is_parent: bool) -> list[str]:
    """Return the changes of columns; of a parent, n_distinct is that of all its partitions together too."""
    changes = []
    for column in definition.columns:
        options = [option for option in column.options if not option.startswith("n_distinct_inherited=")]
        if is_parent:
            distinct = [option.partition("=")[2] for option in options if option.startswith("n_distinct=")]
            options += [f"n_distinct_inherited={value}" for value in distinct]
        if options:
            changes.append(f"ALTER COLUMN {quoted(column.name)} SET ({', '.join(options)})")
        if column.target is not None:
            changes.append(f"ALTER COLUMN {quoted(column.name)} SET STATISTICS {column.target}")
    return changes


def storage(definition: TableDefinition) -> str:
    """Return the storage options of a table, as they follow its columns."""
    return f" WITH ({', '.join(definition.options)})" if definition.options else ""


def _grant(grant: Grant, table: str) -> str:
    columns = f" ({quoted(grant.column)})" if grant.column else ""
    option = " WITH GRANT OPTION" if grant.is_grantable else ""
    return f"GRANT {grant.privilege}{columns} ON {table} TO {_role(grant.role)}{option}"


def _role(name: str) -> str:
    return quoted(name) if name else "PUBLIC"


def triggers(definition: TableDefinition, table: str, except_for: Sequence[str] = ()) -> list[str]:
    """Return the statements that create the triggers of a table on another one."""
    return [
        _ON_TABLE.sub(lambda _: f" ON {qualified(table)} ", text, count=1)
        for name, text in definition.triggers
        if name not in except_for
    ]


def renames(definition: TableDefinition, old_suffix: str, new_suffix: str) -> list[str]:
    """Return the statements that rename a table and its indexes from one suffix to another; empty: the names in use.

    `definition.name` is the name in use, whichever suffix the table has now. The names of partitions stay.
    """
    names = [
        f"ALTER TABLE {qualified(with_suffix(definition.name, old_suffix))} RENAME TO "
        f"{quoted(with_suffix(definition.name, new_suffix))}"
    ]
    for index in definition.indexes:
        old, new = with_suffix(index.name, old_suffix), with_suffix(index.name, new_suffix)
        names.append(f"ALTER INDEX {qualified(old)} RENAME TO {quoted(new)}")
    return names
