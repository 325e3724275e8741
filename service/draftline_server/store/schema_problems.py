"""Sentences about a schema that this version of the service cannot use."""

from __future__ import annotations

from ..domain.errors import OperatorError


class SchemaError(OperatorError):
    """The database has another schema than this version of the service needs."""


class SchemaMovedError(OperatorError):
    """The schema is being migrated, or was migrated while the service runs."""


def schema_problem(revision: str | None, needed: str) -> str:
    """Return a sentence about a database at another revision than the needed one. None: it was never migrated."""
    if revision is None:
        return f"the database was never migrated, this version needs {needed}: run `draftline migrate`"
    if revision > needed:
        return (
            f"the database is at revision {revision}, this version of Draftline knows revisions up to {needed}: run "
            f"the newer version, or use it to downgrade by `draftline migrate --to {needed}`"
        )
    return f"the database is at revision {revision}, this version needs {needed}: run `draftline migrate`"
