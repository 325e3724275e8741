"""The steps on syncs, and on tenants. No worker runs in the demo, so nothing leaves the machine."""

from __future__ import annotations

from typing import Any

from draftline import Client
from draftline.errors import DraftlineError

from .steps import Step, appending_to

STEPS: list[Step] = []
step = appending_to(STEPS)


@step("PutSync")
def bind(client: Client) -> Any:
    """Bind a collection to a system of record. Workers would now link its records, and send what changes."""
    client.create_content("parts", {"rate": 1}, record_id="p-1")
    return client.put_sync("pems", "toy", ["parts"])


@step("LinkRecord")
def link(client: Client) -> Any:
    """Link a record to the one of the upstream whose id is known."""
    return client.link_record("parts", "p-1", "remote-7")


@step("ListSyncRecords")
def waiting(client: Client) -> Any:
    """List the records that differ from the upstream."""
    return list(client.list_sync_records("parts"))


@step("GetSyncStatus")
def status(client: Client) -> Any:
    """Count them by state."""
    return client.get_sync_status("pems")


@step("PauseSync")
def pause(client: Client) -> Any:
    """Send nothing for now; what is written is kept."""
    return client.pause_sync("pems", push=True)


@step("ResumeSync")
def resume(client: Client) -> Any:
    """Send again."""
    return client.resume_sync("pems")


@step("RunSync")
def run(client: Client) -> Any:
    """Have the workers read all records of the upstream now."""
    return client.run_sync("pems", "snapshot")


@step("ListSyncEvents")
def events(client: Client) -> Any:
    """List conflicts, refusals and decisions of policies; there are none yet."""
    return list(client.list_sync_events("pems"))


@step("RetrySync")
def retry(client: Client) -> Any:
    """Send all records again that the upstream has refused; there are none."""
    return client.retry_sync("parts", all=True)


@step("ResolveSync", DraftlineError)
def resolve(client: Client) -> Any:
    """Decide a conflict with the upstream. It is refused, because there is none at this path."""
    return client.resolve_sync("parts", "p-1", mine=["/rate"])


@step("GetSync")
def read(client: Client) -> Any:
    """Read the sync and its state."""
    return client.get_sync("pems")


@step("ListSyncs")
def release(client: Client) -> Any:
    """Release the collection, and list the syncs."""
    client.put_sync("pems", "toy", [])
    return list(client.list_syncs())


@step("ListTenants")
def tenants(client: Client) -> Any:
    """List the tenants, as an operator. Their use is counted every few minutes."""
    return list(client.list_tenants())


@step("SetTenantQuotas")
def quotas(client: Client) -> Any:
    """Limit the records of a tenant, as an operator. Its other quotas are those of the settings."""
    return client.set_tenant_quotas("acme-trial", max_record_count=100_000)
