"""A statement that PostgreSQL rejects is named by each command with what to do, by its SQLSTATE."""

from __future__ import annotations

import asyncpg
import click
import pytest
from draftline_server.cli.app import reporting
from draftline_server.ops.migrate_errors import rejection

FIXES = {
    asyncpg.InsufficientPrivilegeError: "as the role that migrated",
    asyncpg.ReadOnlySQLTransactionError: "default_transaction_read_only",
    asyncpg.DiskFullError: "free space on the disk of PostgreSQL",
    asyncpg.OutOfMemoryError: "memory",
    asyncpg.TooManyConnectionsError: "max_connections",
    asyncpg.ConfigurationLimitExceededError: "temp_file_limit",
    asyncpg.LockNotAvailableError: "draftline top",
    asyncpg.QueryCanceledError: "PostgreSQL's log",
    asyncpg.AdminShutdownError: "when PostgreSQL accepts connections",
    asyncpg.PostgresIOError: "PostgreSQL's disk and log",
    asyncpg.DataCorruptedError: "restored from a backup",
    asyncpg.UndefinedColumnError: "`draftline doctor`",
}


@pytest.mark.parametrize(("kind", "fix"), FIXES.items(), ids=[kind.__name__ for kind in FIXES])
def test_rejection_has_the_fix_of_its_sqlstate(kind: type[asyncpg.PostgresError], fix: str) -> None:
    error = kind("the reason\nDETAIL: (hush)")

    @reporting
    def command() -> None:
        raise error

    with pytest.raises(click.ClickException) as refused:
        command()
    for message in (refused.value.message, rejection(error)):
        assert "the reason" in message
        assert fix in message
        assert "hush" not in message
        assert kind.sqlstate in message or kind is asyncpg.InsufficientPrivilegeError
