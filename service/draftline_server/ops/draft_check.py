"""The checkers of drafts, order entries, tallies and references, for `draftline check`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..domain.errors import DraftlineError, OperatorError
from ..settings import Settings
from ..store.collections.order_entries import OrderEntries
from ..store.collections.tallies import Tallies, TallyDifference
from ..store.database import Database
from ..store.draft_integrity import DraftChecker, DraftDifference
from ..store.driver_errors import UnforeseenError
from ..store.entry_integrity import EntryChecker, EntryDifference
from ..store.relations.dangling import DanglingReference, ReferenceChecker
from ..store.revision import INSUFFICIENT_PRIVILEGE, PRIVILEGES_FIX, check_revision
from ..wiring import pool_settings

__all__ = [
    "CheckError",
    "DanglingReference",
    "DraftChecker",
    "DraftDifference",
    "EntryChecker",
    "EntryDifference",
    "ReferenceChecker",
    "Tallies",
    "TallyDifference",
    "open_checkers",
]


class CheckError(OperatorError):
    """The check was aborted. The message gives the reason."""


@asynccontextmanager
async def open_checkers(
    settings: Settings, url: str, revision: str
) -> AsyncIterator[tuple[DraftChecker, EntryChecker, Tallies, ReferenceChecker]]:
    """Open the database at `url`, whose schema must be at `revision`, and yield its checkers.

    Raises CheckError if the check in the block fails.
    """
    database = Database(url, pool_settings(settings.database))
    await database.open(checked=True)
    try:
        await check_revision(database, revision)
        yield (
            DraftChecker(database),
            EntryChecker(database),
            Tallies(database, OrderEntries(database)),
            ReferenceChecker(database),
        )
    except DraftlineError as error:
        raise CheckError(f"the check was aborted: {error.message}") from error
    except UnforeseenError as error:
        if error.sqlstate != INSUFFICIENT_PRIVILEGE:
            raise
        raise CheckError(f"the check was aborted: the role lacks a privilege: {PRIVILEGES_FIX}") from error
    finally:
        await database.close()
