"""The methods of TenantService."""

from __future__ import annotations

from collections.abc import AsyncIterator

from draftline._async.transport import Transport
from draftline._core import tenant_calls
from draftline.models import UNSET, Tenant, TenantQuotas, Unset


class TenantMethods(Transport):
    def list_tenants(self, *, page_size: int = 0, timeout: float | Unset | None = UNSET) -> AsyncIterator[Tenant]:
        """Iterate over the tenants of the service, with what each uses.

            async for tenant in client.list_tenants():
                print(tenant.tenant_id, tenant.record_count)

        Requires the permission `tenants:read` in all tenants, which only a service key for all tenants can have. The
        client's own tenant does not matter. Pages are fetched on demand, each with its own timeout and retries.

        Args:
            page_size: tenants per page; 0: 100; at most 1,000.
        """
        return self._pages(tenant_calls.list_tenants(page_size=page_size), timeout)

    async def set_tenant_quotas(
        self,
        tenant_id: str,
        *,
        max_record_count: int | None = None,
        max_content_bytes: int | None = None,
        max_draft_count: int | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> TenantQuotas:
        """Set quotas of a tenant, which override those of the settings of the service.

            await client.set_tenant_quotas("acme", max_record_count=5_000_000)

        Requires the permission `tenants:write` in all tenants, which only a service key for all tenants can have. The
        quotas apply within ten seconds. Returns the quotas that apply to the tenant now.

        Args:
            max_record_count: the maximum number of records. For each quota: None: unchanged; 0: no limit; -1: that of
                the settings.
            max_content_bytes: the maximum of the bytes of their contents, as stored.
            max_draft_count: the maximum number of drafts of all users.
        """
        call = tenant_calls.set_tenant_quotas(
            tenant_id,
            max_record_count=max_record_count,
            max_content_bytes=max_content_bytes,
            max_draft_count=max_draft_count,
        )
        return await self._call(call, timeout)
