"""The calls of TenantService."""

from __future__ import annotations

from draftline._core.arguments import checked
from draftline._core.content_responses import time_of
from draftline._core.methods import Call, Method
from draftline.models import Tenant, TenantQuotas
from draftline.v1 import tenant_pb2 as pb


def _quotas_of(message: pb.TenantQuotas) -> TenantQuotas:
    return TenantQuotas(
        max_record_count=message.max_record_count,
        max_content_bytes=message.max_content_bytes,
        max_draft_count=message.max_draft_count,
        overridden=tuple(message.overridden),
    )


def _new_quotas_of(response: pb.SetTenantQuotasResponse) -> TenantQuotas:
    return _quotas_of(response.quotas)


def _tenants_of(response: pb.ListTenantsResponse) -> list[Tenant]:
    return [
        Tenant(
            tenant_id=each.tenant_id,
            collection_count=each.collection_count,
            record_count=each.record_count,
            content_bytes=each.content_bytes,
            draft_count=each.draft_count,
            count_time=time_of(each.count_time) if each.HasField("count_time") else None,
            quotas=_quotas_of(each.quotas),
        )
        for each in response.tenants
    ]


LIST_TENANTS = Method(
    "TenantService", "ListTenants", pb.ListTenantsRequest, pb.ListTenantsResponse, _tenants_of, is_read=True
)
SET_TENANT_QUOTAS = Method(
    "TenantService",
    "SetTenantQuotas",
    pb.SetTenantQuotasRequest,
    pb.SetTenantQuotasResponse,
    _new_quotas_of,
    is_read=True,  # like a read, it may be repeated
)
METHODS = (LIST_TENANTS, SET_TENANT_QUOTAS)


@checked
def list_tenants(*, page_size: int) -> Call[pb.ListTenantsRequest, pb.ListTenantsResponse, list[Tenant]]:
    """Build the call for the first page."""
    return Call(LIST_TENANTS, pb.ListTenantsRequest(page_size=page_size))


@checked
def set_tenant_quotas(
    tenant_id: str, *, max_record_count: int | None, max_content_bytes: int | None, max_draft_count: int | None
) -> Call[pb.SetTenantQuotasRequest, pb.SetTenantQuotasResponse, TenantQuotas]:
    request = pb.SetTenantQuotasRequest(
        quota_tenant_id=tenant_id,
        max_record_count=max_record_count,
        max_content_bytes=max_content_bytes,
        max_draft_count=max_draft_count,
    )
    return Call(SET_TENANT_QUOTAS, request)
