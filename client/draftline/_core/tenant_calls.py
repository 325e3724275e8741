"""The calls of TenantService."""

from __future__ import annotations

from draftline._core.arguments import explained
from draftline._core.content_responses import time_of
from draftline._core.methods import Call, Method
from draftline.models import Tenant
from draftline.v1 import tenant_pb2 as pb


def _tenants_of(response: pb.ListTenantsResponse) -> list[Tenant]:
    return [
        Tenant(
            tenant_id=each.tenant_id,
            collection_count=each.collection_count,
            record_count=each.record_count,
            content_bytes=each.content_bytes,
            draft_count=each.draft_count,
            count_time=time_of(each.count_time) if each.HasField("count_time") else None,
        )
        for each in response.tenants
    ]


LIST_TENANTS = Method(
    "TenantService", "ListTenants", pb.ListTenantsRequest, pb.ListTenantsResponse, _tenants_of, is_read=True
)
METHODS = (LIST_TENANTS,)


@explained
def list_tenants(*, page_size: int) -> Call[pb.ListTenantsRequest, pb.ListTenantsResponse, list[Tenant]]:
    """Build the call for the first page."""
    return Call(LIST_TENANTS, pb.ListTenantsRequest(page_size=page_size))
