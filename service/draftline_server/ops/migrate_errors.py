"""Sentences about migrations that PostgreSQL rejects, by SQLSTATE."""

from __future__ import annotations

from collections.abc import Mapping

from ..store.rejections import fix_of_sqlstate
from ..store.revision import INSUFFICIENT_PRIVILEGE

_FIXES: Mapping[str, str] = {
    "25006": "migrate the primary, and remove default_transaction_read_only from the database and the role",
    "53100": "free space on the disk of PostgreSQL, and run `draftline migrate` again",
    "53200": "give PostgreSQL more memory, or raise max_locks_per_transaction, and run `draftline migrate` again",
}


def rejection(error: BaseException) -> str:
    """Return a sentence about an error of PostgreSQL, or of SQLAlchemy with PostgreSQL's inside, and its fix."""
    message = getattr(error, "orig", None) or error
    sqlstate = getattr(message, "sqlstate", None) or ""
    first_line = str(message).partition("\n")[0]  # the others may hold values of rows
    if sqlstate == INSUFFICIENT_PRIVILEGE:
        return (
            f"the role of DRAFTLINE_DATABASE_URL may not migrate ({first_line}): migrate as the role that migrated "
            "before, or at first as the owner of the database"
        )
    if not sqlstate:
        return f"the database rejects the migration: {first_line}"
    fix = _FIXES.get(sqlstate) or fix_of_sqlstate(sqlstate)
    return f"the database rejects the migration: {first_line} (SQLSTATE {sqlstate}): {fix}"
