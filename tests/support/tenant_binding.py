"""Check with PostgreSQL's own parser that a statement is bound to one tenant.

Every reference of a tenant's table, however deep in a statement, must be held to the tenant that the caller gives: by
`tenant_id = $1` in a WHERE or an ON that it is subject to, or by being equal to one that is. What is written must be
given the same. What is not understood counts as not bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from draftline_server.store.tables import SCHEMA, metadata
from pglast import ast, parse_plpgsql, parse_sql
from pglast.enums import A_Expr_Kind, BoolExprType, JoinType, OnConflictAction, SetOperation

TABLES = frozenset(table.name for table in metadata.tables.values() if "tenant_id" in table.c)
# Functions that touch tenants' tables, for the tenant that is their first argument.
FUNCTIONS = frozenset({
    "refresh_drafts", "content_at", "rebuilt_answer", "attributes_since", "move_order_entries",
    "move_draft_order_entries", "with_drafts", "append_tally", "tally_records", "delete_drafts",
    "delete_order_entries", "delete_draft_order_entries", "draft_order_entries", "delete_tally_rows",
    "delete_draft_rows",
})  # fmt: skip
# Those that do so for all tenants.
MAINTENANCE = frozenset({"add_change_partition", "drop_changes"})
# Statements that walk all tenants and may, by their names.
ALL_TENANTS = frozenset({
    "every_definition",  # the doctor looks at all that is declared
    *("unready_orders", "orders_being_built"),  # the job that builds entries serves every tenant
    *("unready_statistics", "unfolded_statistics", "ready_statistics"),  # so does the job that keeps tallies
    *("biggest_tenants", "largest_tenants"),  # `draftline partitions plan`, the doctor and metrics show them
    *("all_syncs", "sync_overview"),  # the workers share the syncs of all tenants; metrics and the doctor
    "analyzed_tables",  # shows names of partitions
    "list_tenants",  # for callers of all tenants, and the count of their use
    *("forget_tenants", "tenants_by_use"),  # the count of all tenants, and the quotas
    "check_drafts",  # the checker's, which no call reaches
    "count_drafts",
    *("check_record_entries", "check_draft_entries", "check_stored_entries", "check_stored_draft_entries"),
    "checking_collections",  # of `draftline check`
    "forget_answers",  # drops what is old, whoever's it is
    *("missing_weeks", "add_partition", "drop_oldest"),  # the log is kept by whole weeks
})  # fmt: skip
# So do those that make and drop indexes, and that gather statistics, which have no names.
INDEXING = (ast.IndexStmt, ast.DropStmt, ast.VacuumStmt)
ASSIGNMENT = 3  # how PL/pgSQL reads `a := b`; 0: a statement, 2: an expression

Known = Mapping[str, str]  # aliases of tenants' tables, with what each is bound to: `$1`, or a function's argument


def breaches(sql: str) -> list[str]:
    """Return why a statement is not bound to one tenant; empty if it is bound or need not be."""
    named = re.match(r"/\* (\w+) \*/", sql)
    if named is not None and named[1] in ALL_TENANTS:
        return []
    statements = [raw.stmt for raw in parse_sql(sql)]
    return _breaches([each for each in statements if not isinstance(each, INDEXING)])


def function_breaches(spec: str, argument: str) -> list[str]:
    """Return the same for a PL/pgSQL function that takes the tenant as an argument."""
    function = parse_plpgsql(spec)
    statements = [raw.stmt for query in _queries(function) for raw in parse_sql(query)]
    composed = ["it runs what it composes"] if "PLpgSQL_stmt_dynexecute" in str(function) else []
    return _breaches(statements, argument) + composed


class Sent:
    """The statements that any thread sends; each distinct one is checked once."""

    def __init__(self) -> None:
        self._new: SimpleQueue[str] = SimpleQueue()
        self._seen: set[str] = set()

    def add(self, sql: str) -> None:
        if sql not in self._seen:
            self._seen.add(sql)
            self._new.put(sql)

    def check(self) -> None:
        """Raise AssertionError if a statement since the last check is not bound to one tenant."""
        found = {}
        while not self._new.empty():
            sql = self._new.get()
            if problems := breaches(sql):
                found[sql] = problems
        assert not found, f"statements that are not bound to one tenant: {found}"


def _breaches(statements: Iterable[Any], argument: str = "") -> list[str]:
    wall = _Wall(argument)
    for statement in statements:
        wall.check(statement, {})
    if wall.understood != wall.references:
        wall.problems.append(f"of {wall.references} references of tenants' tables, {wall.understood} are understood")
    if len(wall.keys) > 1:
        wall.problems.append(f"tenants are bound to several values: {', '.join(sorted(wall.keys))}")
    return wall.problems


def _queries(node: Any) -> Iterator[str]:
    """All SQL in a parsed function; expressions as statements."""
    if isinstance(node, dict):
        if isinstance(node.get("query"), str):
            query, mode = node["query"], node.get("parseMode", 0)
            yield f"SELECT {query.split(':=', 1)[1] if mode == ASSIGNMENT else query}" if mode else query
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _queries(each)


def _is_tenants(table: ast.RangeVar) -> bool:
    # Without a schema it may be a CTE, but one of that name is not what a reader would take it for.
    return table.schemaname in (SCHEMA, None) and re.sub(r"_(\d{8}|default)$", "", table.relname) in TABLES


@dataclass
class _Scope:
    """The tables of one FROM clause, and the conditions on them."""

    tables: list[str] = field(default_factory=list)  # aliases of tenants' tables
    others: set[str] = field(default_factory=set)  # of all else
    equal: list[tuple[Any, Any, set[str] | None]] = field(default_factory=list)  # for these aliases; None: for all


@dataclass
class _Wall:
    argument: str
    problems: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    references: int = 0  # of tenants' tables
    understood: int = 0

    def check(self, node: Any, outer: Known) -> None:
        """Checks all statements in a node. `outer`: those tables around it whose tenant is known."""
        if isinstance(node, list | tuple):
            for each in node:
                self.check(each, outer)
        if not isinstance(node, ast.Node):
            return
        inner = outer
        match node:
            case ast.SelectStmt(op=SetOperation.SETOP_NONE):
                inner = self._known(node.fromClause, node.whereClause, outer)
            case ast.UpdateStmt():
                inner = self._known([node.relation, *(node.fromClause or ())], node.whereClause, outer)
                self._check_moves(node.targetList)
            case ast.DeleteStmt():
                inner = self._known([node.relation, *(node.usingClause or ())], node.whereClause, outer)
            case ast.InsertStmt() if _is_tenants(node.relation):
                self._check_insert(node)
            case ast.FuncCall():
                self._check_call(node)
            case ast.RangeVar():
                self.references += _is_tenants(node)
        for name in node:
            self.check(getattr(node, name), outer if name == "withClause" else inner)

    def _known(self, sources: Sequence[Any] | None, where: Any, outer: Known) -> Known:
        scope = _Scope()
        for source in sources or ():
            self._add(source, scope)
        scope.equal += [(*pair, None) for pair in _equalities(where)]
        known = {alias: key for alias, key in outer.items() if alias not in scope.others.union(scope.tables)}
        for _ in scope.tables:  # as long a chain of equalities as there can be
            for left, right, subject in scope.equal:
                for one, other in ((left, right), (right, left)):
                    alias, key = _owner(one, scope), self._key(other, scope, known)
                    if alias in scope.tables and alias not in known and key and (subject is None or alias in subject):
                        known[alias] = key
        self.problems += [f"{alias} is not bound to a tenant" for alias in scope.tables if alias not in known]
        self.keys.update(known[alias] for alias in scope.tables if alias in known)
        return known

    def _add(self, source: Any, scope: _Scope) -> set[str]:
        """Adds what a FROM names, and what its joins ask of it; the aliases of tenants' tables in it."""
        if isinstance(source, ast.JoinExpr):
            left, right = self._add(source.larg, scope), self._add(source.rarg, scope)
            # An outer join drops no row of the side that it keeps.
            subjects = {JoinType.JOIN_INNER: left | right, JoinType.JOIN_LEFT: right, JoinType.JOIN_RIGHT: left}
            scope.equal += [(*pair, subjects.get(source.jointype, set())) for pair in _equalities(source.quals)]
            return left | right
        alias = source.alias.aliasname if source.alias else getattr(source, "relname", "")
        if isinstance(source, ast.RangeVar) and _is_tenants(source):
            self.understood += 1
            scope.tables.append(alias)
            return {alias}
        scope.others.add(alias)
        return set()

    def _key(self, node: Any, scope: _Scope | None, known: Known) -> str | None:
        """Return the parameter or argument that an expression is equal to."""
        match _uncast(node):
            case ast.ParamRef(number=number):
                return f"${number}"
            case ast.ColumnRef(fields=(ast.String(sval=name),)) if name == self.argument:
                return name
            case ast.ColumnRef() as column if scope is not None:
                return known.get(_owner(column, scope))
        return None

    def _check_given(self, node: Any, problem: str) -> None:
        key = self._key(node, None, {})
        if key is None:
            self.problems.append(problem)
        else:
            self.keys.add(key)

    def _check_insert(self, node: ast.InsertStmt) -> None:
        self.understood += 1
        names, source = [each.name for each in node.cols or ()], node.selectStmt
        rows = [()]
        if source is not None and source.op == SetOperation.SETOP_NONE:
            rows = source.valuesLists or [[target.val for target in source.targetList]]
        for row in rows:
            given = dict(zip(names, row, strict=False)).get("tenant_id")
            self._check_given(given, f"{node.relation.relname} is given no tenant")
        conflict = node.onConflictClause
        if conflict is not None and conflict.action == OnConflictAction.ONCONFLICT_UPDATE:
            self._check_moves(conflict.targetList)
            if "tenant_id" not in [each.name for each in (conflict.infer.indexElems or ())]:
                self.problems.append(f"{node.relation.relname} is updated on conflicts with any tenant's")

    def _check_moves(self, targets: Sequence[ast.ResTarget]) -> None:
        if any(target.name == "tenant_id" for target in targets):
            self.problems.append("rows are moved to another tenant")

    def _check_call(self, node: ast.FuncCall) -> None:
        name = node.funcname[-1].sval
        if name in FUNCTIONS:
            self._check_given(node.args[0], f"{name} is told no tenant")
        if name in MAINTENANCE:
            self.problems.append(f"{name} is for all tenants")


def _uncast(node: Any) -> Any:
    while isinstance(node, ast.TypeCast):
        node = node.arg
    return node


def _owner(node: Any, scope: _Scope) -> str:
    """The alias whose tenant_id this is; empty if it is none, or nobody can tell whose."""
    node = _uncast(node)
    if not isinstance(node, ast.ColumnRef) or not isinstance(node.fields[-1], ast.String):
        return ""
    *above, name = [each.sval for each in node.fields]
    if name != "tenant_id":
        return ""
    alone = scope.tables[0] if len(scope.tables) == 1 and not scope.others else ""
    return above[-1] if above else alone


def _equalities(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the equalities that must hold: `a = b AND c = d`."""
    match node:
        case ast.BoolExpr(boolop=BoolExprType.AND_EXPR, args=args):
            for each in args:
                yield from _equalities(each)
        case ast.A_Expr(kind=A_Expr_Kind.AEXPR_OP, name=(ast.String(sval="="),), lexpr=left, rexpr=right):
            yield left, right
