"""Fixed SQL: files of named, described statements under `sql/`.

A statement starts with `-- name: its_name`; comments that follow describe it. Values
are named (`:tenant_id`) and always bound.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.sql.elements import ClauseElement

DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with PostgreSQL's placeholders, and the names of its values in order.

    `is_shaped`: its text depends on the request, so there may be any number of such statements.
    """

    name: str
    sql: str
    names: tuple[str, ...]
    is_shaped: bool = False

    def arguments(self, values: dict[str, object]) -> list[object]:
        return [values[name] for name in self.names]


@cache
def load(file: str) -> dict[str, Statement]:
    """Return the statements of `sql/{file}.sql` by name."""
    source = (files(__package__) / "sql" / f"{file}.sql").read_text()
    parts = re.split(r"^-- name: *(\w+) *$", source, flags=re.MULTILINE)[1:]
    return {name: _prepare(name, body) for name, body in zip(parts[::2], parts[1::2], strict=True)}


def _prepare(name: str, body: str) -> Statement:
    lines = (line for line in body.strip().splitlines() if not line.lstrip().startswith("--"))
    return replace(compiled(name, text("\n".join(lines)))[0], is_shaped=False)


def compiled(name: str, clause: ClauseElement) -> tuple[Statement, dict[str, object]]:
    """Compile a clause of SQLAlchemy Core to a request-shaped statement, and return it with its values."""
    result = clause.compile(dialect=DIALECT, compile_kwargs={"render_postcompile": True})
    names = tuple(getattr(result, "positiontup", None) or ())
    return Statement(name, f"/* {name} */ {result}", names, is_shaped=True), dict(result.params)
