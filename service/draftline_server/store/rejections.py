"""Fixes of statements that PostgreSQL rejects, by SQLSTATE."""

from __future__ import annotations

from collections.abc import Mapping

_AGAIN = "run the command again when PostgreSQL accepts connections"
_DAMAGED = "check PostgreSQL's disk and log; damaged data have to be restored from a backup"
_FIXES: Mapping[str, str] = {
    "25006": "use the primary, or reset default_transaction_read_only of the role, the database or postgresql.conf",
    "42501": "connect as the role that migrated, or as a member of it",
    "53100": "free space on the disk of PostgreSQL (docs/operations.md, DraftlineStorageFull)",
    "53200": "give PostgreSQL more memory, or raise max_locks_per_transaction",
    "53300": "raise max_connections or the CONNECTION LIMIT of the role or database, or end other sessions",
    "53400": "raise the limit that the message names, such as temp_file_limit, for the role",
    "55P03": "another session holds a lock: find it by `draftline top`, end it, and run the command again",
    "57014": "find out in PostgreSQL's log who cancelled it, and run the command again",
    "57P01": _AGAIN,
    "57P02": _AGAIN,
    "57P03": _AGAIN,
    "58030": _DAMAGED,
    "58P01": _DAMAGED,
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}
DEFAULT = "`draftline doctor` finds the usual causes, and PostgreSQL's log has the statement"


def known_fix(sqlstate: str) -> str | None:
    """Return what an operator has to do, or None if a SQLSTATE says nothing about the database or the role."""
    return _FIXES.get(sqlstate)


def fix_of_sqlstate(sqlstate: str) -> str:
    """Return what to do about a statement that PostgreSQL rejects with this SQLSTATE."""
    return _FIXES.get(sqlstate, DEFAULT)
