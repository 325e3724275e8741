"""The triggers that keep a copy of a table in sync with it, as SQL text.

They are statement triggers with transition tables, which fire always, also for a session that replicates. Rows are
written to the copy by their primary key, so an update of a primary key is refused, as TRUNCATE is. A table without one
is a multiset: a row that is removed takes one equal row of the copy with it; if that is not copied yet, it waits in
`<table>_unmatched` until it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from .definitions import TableDefinition
from .layout import qualified, quoted

COPY, OLD = "_new", "_old"
EVENTS = ("insert", "update", "delete", "truncate")
KEY_EVENT = "key"  # an update of the primary key
MAX_NULLS = 2
_FUNCTION = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp"
_BY_INDEX = "SET enable_seqscan = off"
_BY_KEY = "SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off"


@dataclass(frozen=True, slots=True)
class Sync:
    """The triggers on `source` that write to `target`; `name` begins their names and those of their functions.

    `part` is a partition of the source and `condition` chooses its rows, if only this partition has a copy.
    """

    definition: TableDefinition
    source: str
    target: str
    name: str
    required: frozenset[str]  # columns without NULL
    part: str | None = None
    condition: str | None = None

    @property
    def copied(self) -> str:
        """The table whose rows are copied."""
        return self.part or self.source

    def changed(self, transition: str) -> str:
        """Return a transition table, without the rows that have no copy."""
        return f"(SELECT * FROM {transition} WHERE {self.condition})" if self.condition else transition

    @property
    def triggers(self) -> list[str]:
        return [f"{self.name}_{event}" for event in (*EVENTS, *([KEY_EVENT] if self.key else []))]

    @property
    def columns(self) -> list[str]:
        return [quoted(column) for column in self.definition.written]

    @property
    def key(self) -> list[str]:
        return [quoted(column) for column in self.definition.key]


def forward(definition: TableDefinition, required: frozenset[str]) -> Sync:
    """Return the triggers of the plain table, which write to the partitioned copy."""
    return Sync(definition, definition.name, definition.name + COPY, f"{definition.name}_to_partitions", required)


def backward(definition: TableDefinition, required: frozenset[str]) -> Sync:
    """Return the triggers of the partitioned table, which write to the plain one after the switch."""
    return Sync(definition, definition.name, definition.name + OLD, f"{definition.name}_to_plain", required)


def unmatched(definition: TableDefinition) -> str:
    return f"{definition.name}_unmatched"


def functions(sync: Sync) -> list[str]:
    """Return the statements that create the functions of the triggers. They find the tables by name when they run."""
    write = _upsert(sync) if sync.key else _append(sync)
    remove = _remove_by_key(sync) if sync.key else _remove_equal(sync)
    update = write if sync.key else f"{remove}\n    {write}"
    refusals = {"truncate": "draftline.{} cannot be truncated while a partitioned copy of it is kept"}
    if sync.key:
        refusals[KEY_EVENT] = "the primary key in draftline.{} cannot be updated while a partitioned copy of it is kept"
    return [
        _function(f"{sync.name}_insert", write, ""),
        _function(f"{sync.name}_update", update, "" if sync.key else _BY_INDEX, declares=not sync.key),
        _function(f"{sync.name}_delete", remove, _BY_KEY if sync.key else _BY_INDEX, declares=not sync.key),
        *(
            _function(
                f"{sync.name}_{event}",
                f"RAISE EXCEPTION '{text.format(sync.source)}' USING HINT = '{HINTS[event]}';",
                "",
            )
            for event, text in refusals.items()
        ),
    ]


HINTS = {
    "truncate": "complete it, or run draftline partitions cleanup",
    KEY_EVENT: "delete the rows and insert them again, or complete it, or run draftline partitions cleanup",
}


def creation(sync: Sync, table: str | None = None) -> list[str]:
    """Return the statements that create the triggers on `table`, which is the source unless it is given."""
    table = qualified(table or sync.source)
    old = "" if sync.key else "OLD TABLE AS gone "
    clauses = {
        "insert": "AFTER INSERT ON {} REFERENCING NEW TABLE AS written",
        "update": f"AFTER UPDATE ON {{}} REFERENCING {old}NEW TABLE AS written",
        "delete": "AFTER DELETE ON {} REFERENCING OLD TABLE AS gone",
        "truncate": "BEFORE TRUNCATE ON {}",
    }
    if sync.key:
        clauses[KEY_EVENT] = f"BEFORE UPDATE OF {', '.join(sync.key)} ON {{}}"
    names = {event: f"{sync.name}_{event}" for event in clauses}
    created = [
        f"CREATE TRIGGER {names[event]} {clause.format(table)} FOR EACH STATEMENT "
        f"EXECUTE FUNCTION draftline.{names[event]}()"
        for event, clause in clauses.items()
    ]
    always = ", ".join(f"ENABLE ALWAYS TRIGGER {name}" for name in names.values())
    return [*created, f"ALTER TABLE ONLY {table} {always}"]


def removal(sync: Sync) -> list[str]:
    """Return the statements that drop the triggers."""
    return [f"DROP TRIGGER IF EXISTS {name} ON {qualified(sync.source)}" for name in sync.triggers]


def function_removal(sync: Sync) -> list[str]:
    return [f"DROP FUNCTION IF EXISTS draftline.{', draftline.'.join(f'{name}()' for name in sync.triggers)}"]


def unmatched_creation(sync: Sync) -> list[str]:
    """Return the statements that create the table of rows without an equal one in the copy.

    Deleting a row from it looks for an equal one again.
    """
    table = unmatched(sync.definition)
    return [
        f"CREATE TABLE IF NOT EXISTS {qualified(table)} (LIKE {qualified(sync.source)})",
        f"CREATE OR REPLACE TRIGGER {sync.name}_match AFTER DELETE ON {qualified(table)} REFERENCING OLD TABLE AS gone "
        f"FOR EACH STATEMENT EXECUTE FUNCTION draftline.{sync.name}_delete()",
    ]


def _function(name: str, body: str, settings: str, *, declares: bool = False) -> str:
    variables = "\nDECLARE\n    tenant text;\n    chosen tid[];\n    removed bigint;" if declares else ""
    return (
        f"CREATE OR REPLACE FUNCTION draftline.{name}() RETURNS trigger LANGUAGE plpgsql {_FUNCTION} {settings} "
        f"AS $f${variables}\nBEGIN\n    {body}\n    RETURN NULL;\nEND $f$"
    )


def _upsert(sync: Sync) -> str:
    columns, key = ", ".join(sync.columns), ", ".join(sync.key)
    others = [column for column in sync.columns if column not in sync.key]
    action = f"UPDATE SET {', '.join(f'{column} = excluded.{column}' for column in others)}" if others else "NOTHING"
    return (
        f"INSERT INTO {qualified(sync.target)} ({columns}) SELECT {columns} FROM {sync.changed('written')} AS w "
        f"ORDER BY {key} ON CONFLICT ({key}) DO {action};"
    )


def _append(sync: Sync) -> str:
    columns = ", ".join(sync.columns)
    return f"INSERT INTO {qualified(sync.target)} ({columns}) SELECT {columns} FROM {sync.changed('written')} AS w;"


def _remove_by_key(sync: Sync) -> str:
    """Return the deletion by key. A row that the same statement deletes and inserts exists, so it stays."""
    return (
        f"DELETE FROM {qualified(sync.target)} AS t USING {sync.changed('gone')} AS g "
        f"WHERE {_equal(sync.key, 't', 'g')} "
        f"AND NOT EXISTS (SELECT FROM {qualified(sync.source)} AS s WHERE {_equal(sync.key, 's', 'g')});"
    )


def _equal(columns: Sequence[str], left: str, right: str) -> str:
    return " AND ".join(f"{left}.{column} = {right}.{column}" for column in columns)


def _remove_equal(sync: Sync) -> str:
    """Return the deletion of equal rows. They are numbered in both tables: as many are removed of each."""
    keys = _search_keys(sync)
    searched = ", ".join(f"({key}) AS search_{index}" for index, (key, _) in enumerate(keys))
    tests = [
        [f"({key}) = p.search_{index}", *([f"({key}) IS NULL AND p.search_{index} IS NULL"] if may_be_null else [])]
        for index, (key, may_be_null) in enumerate(keys)
    ]
    base = f"SELECT t.ctid AS location, {_line(sync, 't')} AS line FROM {qualified(sync.target)} AS t WHERE "
    branches = [base + " AND ".join(chosen) for chosen in product(*tests)]  # each reads a range of the index
    gone = (
        f"SELECT g.*, {_line(sync, 'g')} AS line, row_number() OVER (PARTITION BY {_line(sync, 'g')}) AS n "
        "FROM gone AS g WHERE g.tenant_id = tenant"
    )
    copied = (
        "SELECT d.location, d.line, row_number() OVER (PARTITION BY d.line) AS n "
        f"FROM (SELECT DISTINCT {searched} FROM gone AS g WHERE g.tenant_id = tenant) AS p "
        f"CROSS JOIN LATERAL ({' UNION ALL '.join(branches)}) AS d"
    )
    spare, columns = qualified(unmatched(sync.definition)), ", ".join(sync.columns)
    values = ", ".join(f"g.{column}" for column in sync.columns)
    return f"""FOR tenant IN SELECT DISTINCT g.tenant_id FROM {sync.changed("gone")} AS g LOOP
        WITH g AS MATERIALIZED ({gone}), c AS MATERIALIZED ({copied}), missing AS (
            INSERT INTO {spare} ({columns})
            SELECT {values} FROM g LEFT JOIN c ON c.line = g.line AND c.n = g.n WHERE c.line IS NULL)
        SELECT coalesce(array_agg(c.location), '{{}}') INTO chosen FROM c JOIN g ON c.line = g.line AND c.n = g.n;
        DELETE FROM {qualified(sync.target)} AS t WHERE t.tenant_id = tenant AND t.ctid = ANY (chosen);
        GET DIAGNOSTICS removed = ROW_COUNT;
        IF removed <> cardinality(chosen) THEN
            RAISE EXCEPTION 'two transactions remove equal rows' USING ERRCODE = 'serialization_failure';
        END IF;
    END LOOP;"""


def _line(sync: Sync, alias: str) -> str:
    return f"ROW({', '.join(f'{alias}.{column}' for column in sync.columns)})::text"


def _search_keys(sync: Sync) -> list[tuple[str, bool]]:
    """Return the columns and expressions of an index by which a row is found, and whether each may be NULL.

    They end with the second one that may be: each doubles the number of searches.
    """
    indexes = sync.definition.indexes
    keys = next((index.keys for index in indexes if " WHERE " not in index.definition), ("tenant_id",))
    required = {quoted(column) for column in sync.required}
    found: list[tuple[str, bool]] = []
    for key in keys:
        found.append((key, key not in required))
        if sum(may_be_null for _, may_be_null in found) == MAX_NULLS:
            break
    return found
