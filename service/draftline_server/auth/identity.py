"""Who calls, and what they may do in which tenant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from ..domain.errors import PermissionDeniedError
from ..domain.records import Actor
from .permissions import Permission

MAX_USER = 128  # characters
MAX_TENANT = 128  # characters

Grants = Mapping[str, frozenset[Permission]]  # by tenant


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller. `grants` None: every permission in every tenant. `expires_at`: in seconds since 1970."""

    user_id: str
    grants: Grants | None = None
    expires_at: float = math.inf

    def counted_as(self, peer: str) -> str:
        """For whom calls are counted while their tenant is not known: the only tenant, the user, or, where nobody is
        authenticated, the connection. Never empty."""
        if self.grants is None:
            return f"\0{peer}"
        return next(iter(self.grants)) if len(self.grants) == 1 else f"\0{self.user_id}"

    def actor(self, tenant_id: str, needed: frozenset[Permission]) -> Actor:
        """The caller in a tenant. PermissionDeniedError says the same of a tenant that does not exist as of any
        other that is not the caller's."""
        if self.grants is not None:
            granted = self.grants.get(tenant_id)
            if granted is None:
                raise PermissionDeniedError("the caller has no access to this tenant")
            missing = sorted(needed - granted)
            if missing:
                raise PermissionDeniedError(f"this call needs {' and '.join(missing)}", needed=" ".join(sorted(needed)))
        return Actor(tenant_id, self.user_id)

    def may_read(self, tenant_id: str) -> bool:
        """Return whether the caller may be shown content of the tenant."""
        return self.grants is None or Permission.CONTENT_READ in self.grants.get(tenant_id, ())


NOBODY = Identity("", {})  # until the caller is known


def is_user(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= MAX_USER and value.isprintable()


def parse_grants(tenants: Any, scopes: Any) -> Grants:
    """What claims grant: `tenants` is one id, a list of ids that all get `scopes`, or an object of each id's own.

    Scopes are one text with spaces between them (RFC 8693) or a list of texts; those of other services mean
    nothing here. ValueError for anything else.
    """
    if isinstance(tenants, dict):
        return {_tenant(tenant_id): _permissions(own) for tenant_id, own in tenants.items()}
    granted = _permissions(scopes)
    return {_tenant(tenant_id): granted for tenant_id in ([tenants] if isinstance(tenants, str) else _texts(tenants))}


def _permissions(scopes: Any) -> frozenset[Permission]:
    known = set(Permission)
    told = scopes.split() if isinstance(scopes, str) else _texts(scopes)
    return frozenset(Permission(scope) for scope in told if scope in known)


def _texts(values: Any) -> Iterable[str]:
    if values is None:
        return ()
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("is no list of texts")
    return values


def _tenant(tenant_id: str) -> str:
    if not 0 < len(tenant_id) <= MAX_TENANT:
        raise ValueError(f"a tenant has 1 to {MAX_TENANT} characters")
    return tenant_id
