"""The implementation of TenantService."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from draftline.v1 import tenant_pb2

from ...domain.errors import InvalidFieldError
from ...domain.merged import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from ...domain.quotas import Quota, QuotaOptions
from ...domain.records import Actor
from ...store.tenants import Tenants, TenantUsage

FIELDS: Mapping[Quota, str] = {
    "records": "max_record_count",
    "bytes": "max_content_bytes",
    "drafts": "max_draft_count",
}


@dataclass(frozen=True, slots=True)
class TenantService:
    """The rpcs of TenantService, which protos/draftline/v1/tenant.proto documents."""

    tenants: Tenants
    defaults: QuotaOptions

    async def ListTenants(  # noqa: N802
        self,
        request: tenant_pb2.ListTenantsRequest,
        actor: Actor,  # noqa: ARG002  it is of no tenant
    ) -> tenant_pb2.ListTenantsResponse:
        size = min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        found, next_page_token = await self.tenants.page(size, request.page_token)
        return tenant_pb2.ListTenantsResponse(tenants=map(self._to_tenant, found), next_page_token=next_page_token)

    async def SetTenantQuotas(  # noqa: N802
        self, request: tenant_pb2.SetTenantQuotasRequest, actor: Actor
    ) -> tenant_pb2.SetTenantQuotasResponse:
        tenant_id = request.quota_tenant_id
        given = {field.name: limit for field, limit in request.ListFields()}
        changes = {quota: given[field] for quota, field in FIELDS.items() if field in given}
        if not changes:
            raise InvalidFieldError.of("max_record_count", f"set at least one of {', '.join(FIELDS.values())}")
        own = await self.tenants.set_quotas(tenant_id, changes, actor.user_id)
        structlog.get_logger().info(
            "tenant_quotas_set", tenant_id=tenant_id, user_id=actor.user_id,
            **{FIELDS[quota]: limit for quota, limit in changes.items()},
        )  # fmt: skip
        return tenant_pb2.SetTenantQuotasResponse(quotas=self._to_quotas(own))

    def _to_quotas(self, own: Mapping[Quota, int]) -> tenant_pb2.TenantQuotas:
        limits = {FIELDS[quota]: limit for quota, limit in self.defaults.limits(own).items()}
        return tenant_pb2.TenantQuotas(**limits, overridden=[FIELDS[quota] for quota in own])

    def _to_tenant(self, usage: TenantUsage) -> tenant_pb2.Tenant:
        message = tenant_pb2.Tenant(
            tenant_id=usage.tenant_id,
            collection_count=usage.collections,
            record_count=usage.records,
            content_bytes=usage.bytes,
            draft_count=usage.drafts,
            quotas=self._to_quotas(usage.own_quotas),
        )
        if usage.counted_at is not None:
            message.count_time.FromDatetime(usage.counted_at)
        return message
