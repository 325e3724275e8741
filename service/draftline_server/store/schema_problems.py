"""Sentences about a schema that this version of the service cannot use."""

from __future__ import annotations

import re

from ..domain.errors import OperatorError


class SchemaError(OperatorError):
    """The database has another schema than this version of the service needs."""


class SchemaMovedError(OperatorError):
    """The schema is being migrated, or was migrated while the service runs."""


OLDEST_SERVER = 150_000  # as in server_version_num
NOT_MIGRATED = (
    "the database was never migrated, or its schema was dropped: run `draftline migrate` for a new database, restore a "
    "backup, or correct the name of the database in DRAFTLINE_DATABASE_URL"
)

# The comment on draftline.alembic_version names the oldest revision whose services can use the schema.
_SUPPORT = re.compile(r"revision (\w+), for services of (\w+) and later")


def support_comment(revision: str, oldest: str) -> str:
    """Return the comment on draftline.alembic_version of a schema that services of `oldest` and later can use."""
    return f"revision {revision}, for services of {oldest} and later"


def oldest_service(revision: str, comment: str | None) -> str | None:
    """Return the oldest revision whose services can use a schema with this comment; None: only its own.

    A comment about another revision does not count: the schema was changed without `draftline migrate`.
    """
    found = _SUPPORT.fullmatch(comment or "")
    return found[2] if found and found[1] == revision else None


def can_use(revision: str | None, comment: str | None, needed: str) -> bool:
    """Return whether a service that needs a revision can use a schema: the same, or a newer one that supports it."""
    if revision is None or revision == needed:
        return revision == needed
    oldest = oldest_service(revision, comment)
    return oldest is not None and oldest <= needed < revision


def schema_problem(revision: str | None, needed: str) -> str:
    """Return a sentence about a database at another revision than the needed one. None: it was never migrated."""
    if revision is None:
        return NOT_MIGRATED
    if revision > needed:
        return (
            f"the database is at revision {revision}, this version of Draftline knows revisions up to {needed}: run "
            f"the newer version, or use it to downgrade by `draftline migrate --to {needed}`"
        )
    return f"the database is at revision {revision}, this version needs {needed}: run `draftline migrate`"


def wrong_server(version: int, name: str, encoding: str) -> str:
    """Return a sentence about a server that cannot be used; empty if it can. `version` is server_version_num."""
    if version < OLDEST_SERVER:
        oldest = OLDEST_SERVER // 10_000
        return f"the server is PostgreSQL {name}: use PostgreSQL {oldest} or newer; a dump of the database moves it"
    if encoding != "UTF8":
        return (
            f"the encoding of the database is {encoding}: use a database created with ENCODING 'UTF8' and TEMPLATE "
            "template0"
        )
    return ""


def unknown_revision(revisions: list[str], comment: str | None) -> str:
    """Return a sentence about a schema with tables, but without a revision or with several."""
    found = _SUPPORT.fullmatch(comment or "")
    if len(revisions) > 1:
        names = ", ".join(sorted(revisions))
        right = f"; its comment names {found[1]}" if found else ""
        return f"draftline.alembic_version has several revisions ({names}): delete the wrong ones{right}"
    hint = f", or insert '{found[1]}', which its comment names, if only the row was deleted" if found else ""
    return (
        "the schema has tables, but no revision in draftline.alembic_version, as after an incomplete restore: restore "
        f"a complete dump into an empty database{hint}"
    )
