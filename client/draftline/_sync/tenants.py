# Generated from draftline/_async/tenants.py by `make generate`; never edited.
"""The methods of TenantService."""

from __future__ import annotations

from collections.abc import Iterator

from draftline._core import tenant_calls
from draftline._sync.transport import Transport
from draftline.models import UNSET, Tenant, Unset


class TenantMethods(Transport):
    def list_tenants(self, *, page_size: int = 0, timeout: float | Unset | None = UNSET) -> Iterator[Tenant]:
        """Iterate over the tenants of the service, with what each uses.

            for tenant in client.list_tenants():
                print(tenant.tenant_id, tenant.record_count)

        Requires the permission `tenants:read` in all tenants, which only a service key for all tenants can have. The
        client's own tenant does not matter. Pages are fetched on demand, each with its own timeout and retries.

        Args:
            page_size: tenants per page; 0: 100; at most 1,000.
        """
        return self._pages(tenant_calls.list_tenants(page_size=page_size), timeout)
