"""The checker of drafts, for `draftline check`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..domain.errors import DraftlineError, OperatorError
from ..settings import Settings
from ..store.database import Database
from ..store.draft_integrity import DraftChecker, DraftDifference
from ..store.revision import check_revision
from ..wiring import pool_settings

__all__ = ["CheckError", "DraftChecker", "DraftDifference", "open_checker"]


class CheckError(OperatorError):
    """The check was aborted. The message gives the reason."""


@asynccontextmanager
async def open_checker(settings: Settings, url: str, revision: str) -> AsyncIterator[DraftChecker]:
    """Open the database at `url`, whose schema must be at `revision`, and yield a draft integrity checker.

    Raises CheckError if the check in the block fails.
    """
    database = Database(url, pool_settings(settings.database))
    await database.open(checked=True)
    try:
        await check_revision(database, revision)
        yield DraftChecker(database)
    except DraftlineError as error:
        raise CheckError(f"the check was aborted: {error.message}") from error
    finally:
        await database.close()
