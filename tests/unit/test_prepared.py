"""Request-shaped statements are prepared if they repeat, up to the limit."""

from __future__ import annotations

from draftline_server.store.prepared import LIFETIME_S, LIMIT, LIMIT_CHARACTERS, USES, PreparedStatements


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def used_repeatedly(statements: PreparedStatements, sql: str) -> bool:
    return [statements.use(sql) for _ in range(USES)][-1]


def test_statement_used_repeatedly_is_prepared() -> None:
    statements = PreparedStatements()
    assert [statements.use("SELECT 1") for _ in range(USES + 1)] == [False] * (USES - 1) + [True, True]


def test_novel_statements_are_never_prepared() -> None:
    statements = PreparedStatements()
    assert not any(statements.use(f"SELECT {n}") for n in range(5000))


def test_number_of_prepared_statements_is_limited_within_their_lifetime() -> None:
    clock = Clock()
    statements = PreparedStatements(clock)
    assert sum(used_repeatedly(statements, f"SELECT {n}") for n in range(1000)) == LIMIT
    clock.now = LIFETIME_S
    assert sum(used_repeatedly(statements, f"SELECT {n}, 2") for n in range(1000)) == LIMIT
    assert not statements.use("SELECT 1")  # the statements of the second window took its place


def test_length_of_prepared_statements_is_limited() -> None:
    statements = PreparedStatements(Clock())
    large = "x" * (LIMIT_CHARACTERS // 2)
    assert [used_repeatedly(statements, f"{n}{large[1:]}") for n in range(4)] == [True, True, False, False]


def test_statement_in_use_stays_prepared_while_others_come_and_go() -> None:
    clock = Clock()
    statements = PreparedStatements(clock)
    used_repeatedly(statements, "SELECT 'often'")
    for window in range(5):
        clock.now = window * LIFETIME_S
        for n in range(LIMIT):
            used_repeatedly(statements, f"SELECT {window}, {n}")
            assert statements.use("SELECT 'often'")
