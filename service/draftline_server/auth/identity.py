"""The identity of a caller and its permissions in each tenant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from ..domain.errors import PermissionDeniedError
from ..domain.records import Actor
from .permissions import Permission

MAX_USER = 128  # characters
MAX_TENANT = 128  # characters

Grants = Mapping[str, frozenset[Permission]]  # by tenant


class EveryTenant(Mapping[str, frozenset[Permission]]):
    """The same permissions in every tenant, of a service key for all tenants. It lists no tenant."""

    def __init__(self, granted: frozenset[Permission]) -> None:
        self._granted = granted

    def __getitem__(self, tenant_id: str) -> frozenset[Permission]:
        return self._granted

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated caller.

    `grants` is None for a caller with every permission in every tenant. `expires_at` is in seconds since 1970.
    """

    user_id: str
    grants: Grants | None = None
    expires_at: float = math.inf

    def counted_as(self, peer: str) -> str:
        """Return the key that calls are counted under while their tenant is not known.

        It is the tenant if the caller has only one, else the user, or the connection without authentication. It is
        never empty.
        """
        if self.grants is None:
            return f"\0{peer}"
        return next(iter(self.grants)) if len(self.grants) == 1 else f"\0{self.user_id}"

    def actor(self, tenant_id: str, needed: frozenset[Permission]) -> Actor:
        """Return the caller as an actor in a tenant.

        Raises PermissionDeniedError if the caller lacks access or a needed permission. The error is the same for a
        tenant that does not exist and for a tenant of others.
        """
        if self.grants is not None:
            granted = self.grants.get(tenant_id)
            if granted is None:
                raise PermissionDeniedError("the caller has no access to this tenant")
            missing = sorted(needed - granted)
            if missing:
                raise PermissionDeniedError(f"this call needs {' and '.join(missing)}", needed=" ".join(sorted(needed)))
        return Actor(tenant_id, self.user_id)

    def may_read(self, tenant_id: str) -> bool:
        """Return whether the caller may read content of the tenant."""
        return self.grants is None or Permission.CONTENT_READ in self.grants.get(tenant_id, ())


ANONYMOUS = Identity("", {})  # until the caller is authenticated


def is_user(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_USER and value.isprintable()


def parse_grants(tenants: Any, scopes: Any) -> Grants:
    """Return the grants of a token's claims.

    `tenants` is one id or a list of ids, which all get `scopes`, or an object that maps each id to its own scopes.
    Scopes are a space-separated string (RFC 8693) or a list of strings. Unknown scopes, such as those of other
    services, are ignored. Raises ValueError for anything else.
    """
    if isinstance(tenants, dict):
        return {_tenant(tenant_id): _permissions(own) for tenant_id, own in tenants.items()}
    granted = _permissions(scopes)
    return {_tenant(tenant_id): granted for tenant_id in ([tenants] if isinstance(tenants, str) else _strings(tenants))}


def _permissions(scopes: Any) -> frozenset[Permission]:
    known = set(Permission)
    names = scopes.split() if isinstance(scopes, str) else _strings(scopes)
    return frozenset(Permission(scope) for scope in names if scope in known)


def _strings(values: Any) -> Iterable[str]:
    if values is None:
        return ()
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("is not a list of strings")
    return values


def _tenant(tenant_id: str) -> str:
    if not 0 < len(tenant_id) <= MAX_TENANT:
        raise ValueError(f"tenant ids must have 1 to {MAX_TENANT} characters")
    return tenant_id
