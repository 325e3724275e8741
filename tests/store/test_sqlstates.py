"""Errors of PostgreSQL are mapped by SQLSTATE to a status and the fate of the write; their text is withheld."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator

import asyncpg
import pytest
from draftline_server.domain.errors import (
    WRITE_IS_UNKNOWN,
    ContentionError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    DraftlineError,
    InvalidDocumentError,
    OverloadedError,
    StorageFullError,
)
from draftline_server.store.database import Database
from draftline_server.store.driver_errors import NothingDoneError, UnforeseenError, translate
from draftline_server.store.statements import Statement
from support.servers import cloned
from support.tenant_stores import connected

SECRET = "what somebody wrote"
REFUSE = Statement("refuse", "SELECT refuse($1)", ("sqlstate",))
NEXT = Statement("next", "SELECT nextval('attempts')", ())
RETRIES = 3

KNOWN: dict[str, type[DraftlineError]] = {
    "40000": ContentionError,
    "40001": ContentionError,
    "40P01": ContentionError,
    "55P03": ContentionError,
    "25006": DatabaseUnavailableError,
    "25P03": DatabaseUnavailableError,
    "25P04": DatabaseUnavailableError,
    "57P03": DatabaseUnavailableError,
    "58030": DatabaseUnavailableError,
    "53000": OverloadedError,
    "53100": StorageFullError,
    "53200": OverloadedError,
    "53300": OverloadedError,
    "57014": DeadlineExceededError,
}
UNKNOWN = ["08000", "08006", "08007", "40003", "57000", "57P01", "57P02", "57P04", "57P05"]
BAD_DATA = ["22003", "22007", "22008", "22021", "22P02", "22P05", "54000", "54001"]
UNFORESEEN = [
    "0A000",
    "22000",
    "22004",
    "22012",
    "22023",
    "22025",
    "2201W",
    "22P03",
    "54011",
    "54023",
    "23502",
    "23503",
    "23505",
    "23514",
    "25P02",
    "42501",
    "42P01",
    "55000",
    "P0001",
    "XX000",
    "XX001",
]


@pytest.fixture(scope="module")
async def refusing(postgres_url: str, template: str) -> AsyncIterator[Database]:
    """A database with a function that fails as it is told, and counts how often it was called."""
    with cloned(postgres_url, template) as url:
        async with connected(url, max_attempts=RETRIES) as database:
            async with database.dedicated_connection() as session:
                await session.execute("CREATE SEQUENCE attempts")
                await session.execute(f"""
                    CREATE FUNCTION refuse(state text) RETURNS void LANGUAGE plpgsql AS $$
                    BEGIN
                        PERFORM nextval('attempts');
                        RAISE EXCEPTION '{SECRET}' USING ERRCODE = state, DETAIL = '{SECRET}', HINT = '{SECRET}',
                            CONSTRAINT = 'record_version_check', TABLE = 'record';
                    END $$""")
            yield database


async def refusal(database: Database, sqlstate: str, *, idempotent: bool = False) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011  the test says which
        await database.fetch(REFUSE, {"sqlstate": sqlstate}, idempotent=idempotent)
    return caught.value


@pytest.mark.parametrize("sqlstate", [*KNOWN, *UNKNOWN, *BAD_DATA])
async def test_sqlstate_has_a_code_and_says_what_became_of_a_write(refusing: Database, sqlstate: str) -> None:
    error = await refusal(refusing, sqlstate)
    assert isinstance(error, DraftlineError)
    assert SECRET not in error.message
    if sqlstate in BAD_DATA:
        assert type(error) is InvalidDocumentError
    elif sqlstate in UNKNOWN:
        assert type(error) is DatabaseUnavailableError
        assert error.message.endswith(WRITE_IS_UNKNOWN)
    else:
        assert type(error) is KNOWN[sqlstate]
        assert "nothing was changed" in error.message


@pytest.mark.parametrize("sqlstate", UNFORESEEN)
async def test_what_is_unforeseen_tells_its_sqlstate_and_constraint_alone(refusing: Database, sqlstate: str) -> None:
    error = await refusal(refusing, sqlstate)
    assert type(error) is UnforeseenError
    assert str(error) == f"PostgreSQL answered SQLSTATE {sqlstate}, record_version_check"
    assert SECRET not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("sqlstate", "idempotent", "attempts"),
    [
        ("40001", False, RETRIES), ("40P01", False, RETRIES), ("40000", False, 1), ("55P03", False, 1),
        ("08006", False, 1), ("57P01", False, 1), ("08006", True, RETRIES), ("57P01", True, RETRIES),
        ("53100", True, 1), ("57014", True, 1), ("23505", True, 1),
    ],
)  # fmt: skip
async def test_attempts_are_repeated_where_that_does_no_harm(
    refusing: Database, sqlstate: str, idempotent: bool, attempts: int
) -> None:
    before = (await refusing.fetch(NEXT, {}))[0][0]
    await refusal(refusing, sqlstate, idempotent=idempotent)
    assert (await refusing.fetch(NEXT, {}))[0][0] - before - 1 == attempts


@pytest.mark.parametrize("last", [asyncpg.DiskFullError(""), asyncpg.DeadlockDetectedError(""), NothingDoneError()])
def test_what_passes_after_a_lost_attempt_leaves_it_unknown(last: Exception) -> None:
    assert "nothing was changed" in str(translate(last))
    assert str(translate(last, lost=True)).endswith(WRITE_IS_UNKNOWN)


def test_refusal_to_connect_for_want_of_room_is_told_so() -> None:
    full = NothingDoneError()
    full.__cause__ = asyncpg.TooManyConnectionsError("")
    assert type(translate(full)) is OverloadedError
