"""The URL of the database that a command uses: the configured PostgreSQL, or the embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..settings import Settings


@contextmanager
def database_url(settings: Settings, *, migrated: bool = True, create: bool = True) -> Iterator[str]:
    """Yield the URL of the configured PostgreSQL, or start the embedded one, and migrate that if `migrated`.

    With `create`, the embedded PostgreSQL is created if it is missing. Without it, raise EmbeddedPostgresError if it is
    missing, and use the running server if a service has started it.
    """
    if settings.database.url:
        yield settings.database.url
        return
    from .embedded_database import embedded_url  # noqa: PLC0415  slow, and not needed with a PostgreSQL of the user's

    with embedded_url(settings, migrated=migrated, create=create) as url:
        yield url
