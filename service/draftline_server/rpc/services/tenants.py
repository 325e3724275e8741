"""The implementation of TenantService."""

from __future__ import annotations

from dataclasses import dataclass

from draftline.v1 import tenant_pb2

from ...domain.merged import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from ...domain.records import Actor
from ...store.tenants import Tenants, TenantUsage


@dataclass(frozen=True, slots=True)
class TenantService:
    """The rpcs of TenantService, which protos/draftline/v1/tenant.proto documents."""

    tenants: Tenants

    async def ListTenants(  # noqa: N802
        self,
        request: tenant_pb2.ListTenantsRequest,
        actor: Actor,  # noqa: ARG002  it is of no tenant
    ) -> tenant_pb2.ListTenantsResponse:
        size = min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        found, next_page_token = await self.tenants.page(size, request.page_token)
        return tenant_pb2.ListTenantsResponse(tenants=map(_to_tenant, found), next_page_token=next_page_token)


def _to_tenant(usage: TenantUsage) -> tenant_pb2.Tenant:
    message = tenant_pb2.Tenant(
        tenant_id=usage.tenant_id,
        collection_count=usage.collections,
        record_count=usage.records,
        content_bytes=usage.bytes,
        draft_count=usage.drafts,
    )
    if usage.counted_at is not None:
        message.count_time.FromDatetime(usage.counted_at)
    return message
