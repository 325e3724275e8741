"""On whose behalf a call runs."""

from __future__ import annotations

from collections.abc import Iterable

from ..domain.errors import InvalidFieldError
from ..domain.records import Actor, Request

USER_KEY = "x-draftline-user"
DEFAULT_USER = "dev"
MAX_USER = 128  # characters


def actor_of(
    tenant_id: str, metadata: Iterable[tuple[str, str | bytes]] | None, request: Request | None = None
) -> Actor:
    """The tenant that the request names and the user that its metadata names.

    Nobody is authenticated yet, which is why the server binds to loopback alone.
    """
    users = [value for key, value in metadata or () if key == USER_KEY]
    if len(users) > 1:
        raise InvalidFieldError.of(USER_KEY, "may be sent once")
    user = users[0] if users else DEFAULT_USER
    if not isinstance(user, str) or not 0 < len(user) <= MAX_USER or not user.isprintable():
        raise InvalidFieldError.of(USER_KEY, f"must be 1 to {MAX_USER} printable characters")
    return Actor(tenant_id, user, request)
