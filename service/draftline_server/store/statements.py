"""Fixed SQL: files of named, described statements under `sql/`.

A statement starts with `-- name: its_name`; comments that follow describe it. Values
are named (`:tenant_id`) and always bound. Text that several statements share is a fragment: it starts with
`-- fragment: its_name`, and the line `-- include: file.its_name` inserts it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.sql.elements import ClauseElement

DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]
_HEADING = re.compile(r"^-- (name|fragment): *(\w+) *$", re.MULTILINE)
_CALLED = re.compile(r"\bdraftline\.(\w+)\(")
_VALUE = re.compile(r"(?<![:\w]):(\w+)")  # and neither a cast, `::type`, nor a slice, `[1:2]`
_INCLUDE = re.compile(r"^ *-- include: *(\w+)\.(\w+) *$", re.MULTILINE)


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
    return {name: _prepare(name, body) for (kind, name), body in _sections(file).items() if kind == "name"}


@cache
def called_functions() -> frozenset[str]:
    """Return the names of the functions of the schema that fixed statements call."""
    texts = (path.read_text() for path in (files(__package__) / "sql").iterdir() if path.name.endswith(".sql"))
    return frozenset(name for source in texts for name in _CALLED.findall(_without_comments(source)))


@cache
def _sections(file: str) -> dict[tuple[str, str], str]:
    """Return the texts of a file's statements and fragments, by `name` or `fragment` and their name."""
    source = (files(__package__) / "sql" / f"{file}.sql").read_text()
    parts = _HEADING.split(source)[1:]
    return {(kind, name): body for kind, name, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


def _expanded(body: str) -> str:
    """Return the text without comments, with the fragments that it includes."""
    included = _INCLUDE.sub(lambda match: _expanded(_sections(match[1])["fragment", match[2]]), body)
    return _without_comments(included.strip())


def _without_comments(source: str) -> str:
    return "\n".join(line for line in source.splitlines() if not line.lstrip().startswith("--"))


def fragment(file: str, name: str) -> str:
    """Return the text of a fragment, for request-shaped statements that contain it."""
    return _expanded(_sections(file)["fragment", name])


def _prepare(name: str, body: str) -> Statement:
    """Return a statement whose values are numbered in the order in which they first appear."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${numbers.setdefault(match[1], len(numbers) + 1)}"

    sql = _VALUE.sub(number, _expanded(body))
    return Statement(name, f"/* {name} */ {sql}", tuple(numbers))


def compiled(name: str, clause: ClauseElement) -> tuple[Statement, dict[str, object]]:
    """Compile a clause of SQLAlchemy Core to a request-shaped statement, and return it with its values."""
    result = clause.compile(dialect=DIALECT, compile_kwargs={"render_postcompile": True})
    names = tuple(getattr(result, "positiontup", None) or ())
    return Statement(name, f"/* {name} */ {result}", names, is_shaped=True), dict(result.params)
