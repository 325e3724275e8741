"""The connector to JSON APIs over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from draftline.upstreams import (
    Capabilities,
    CollectionBinding,
    Outcome,
    Page,
    RemoteRecord,
    UnreachableError,
    WriteItem,
)

from ..definitions import HttpJson, Resource
from ..endpoints_file import ConfiguredEndpoint
from ..field_mapping import FieldTranslator
from ..guard import Guard
from ..http_auth import authenticator
from ..http_client import HttpClient
from .reads import Reads
from .representation import Representation
from .requests import Requests
from .urls import check_template
from .writes import Writes


@dataclass(frozen=True)
class _Bound:
    resource: Resource
    reads: Reads
    writes: Writes


class HttpJsonUpstream:
    """An HTTP API, for one tenant. Implements `draftline.upstreams.Upstream`."""

    def __init__(
        self,
        endpoint: ConfiguredEndpoint,
        definition: HttpJson,
        tenant_id: str,  # noqa: ARG002  the interface of connectors; the credentials of an API select the account
        bindings: Sequence[CollectionBinding],
        guard: Guard | None = None,
    ) -> None:
        self._client = HttpClient(endpoint, definition.tls, guard)
        self._requests = Requests(self._client, authenticator(definition.auth, endpoint, self._client))
        self._parallel = definition.parallel
        self._bound = {each.collection: self._bind(definition, each) for each in bindings}

    def _bind(self, definition: HttpJson, binding: CollectionBinding) -> _Bound:
        name = binding.resource or binding.collection
        resource = definition.resources.get(name)
        if resource is None:
            raise ValueError(f"resources: there is no resource {name!r}")
        check_urls(name, resource)
        representation = Representation(resource, FieldTranslator(binding.fields))
        arguments = (definition.base_url, representation, self._requests)
        return _Bound(resource, Reads(*arguments), Writes(*arguments))

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def describe(self, collection: str) -> Capabilities:
        """Return what the operator's file claims for the resource."""
        resource = self._bound[collection].resource
        is_put = resource.create is not None and resource.create.method == "PUT"
        return Capabilities(
            idempotency_keys_s=resource.idempotency_keys_s,
            conditional_writes=resource.conditional_writes,
            client_reference=bool(resource.reference and (resource.unique_reference or is_put)),
            ordered_versions=resource.ordered_versions,
            returns_stored=resource.prefer_representation,
            changes=resource.changes is not None,
            deletions_in_changes=resource.deletions_in_changes,
            snapshots=resource.list is not None,
            lookups=resource.read is not None,
            read_lag_s=resource.read_lag_s,
            max_batch=resource.batch.max_items if resource.batch else self._parallel,
            atomic_batch=resource.batch is not None and resource.batch.atomic,
        )

    async def write(self, collection: str, items: Sequence[WriteItem], *, atomic: bool = False) -> Sequence[Outcome]:
        """Write items."""
        return await self._bound[collection].writes.write(items, atomic)

    async def changes(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
        """Read changes."""
        bound = self._bound[collection]
        if bound.resource.changes is None:
            raise UnreachableError("the resource has no read of changes")
        async for page in bound.reads.changes(bound.resource.changes, cursor):
            yield page

    async def snapshot(self, collection: str, cursor: str | None) -> AsyncIterator[Page]:
        """Read a snapshot."""
        bound = self._bound[collection]
        if bound.resource.list is None:
            raise UnreachableError("the resource has no list")
        async for page in bound.reads.snapshot(bound.resource.list, cursor):
            yield page

    async def lookup(self, collection: str, remote_ids: Sequence[str]) -> Sequence[RemoteRecord]:
        """Return the current state of records."""
        bound = self._bound[collection]
        if bound.resource.read is None:
            raise UnreachableError("the resource has no read of one record")
        return await bound.reads.lookup(bound.resource.read.url, remote_ids)


def check_urls(name: str, resource: Resource) -> None:
    """Raise ValueError, with the field, if a URL template of a resource is invalid."""
    allowed = {
        "create": ("record_id",),
        "update": ("id", "record_id"),
        "delete": ("id", "record_id"),
        "read": ("id",),
        "find": ("record_id",),
        "batch": (),
        "list": ("cursor", "offset"),
        "changes": ("cursor", "offset"),
    }
    for field, variables in allowed.items():
        request = getattr(resource, field)
        if request is not None:
            try:
                check_template(request.url, variables)
            except ValueError as error:
                raise ValueError(f"resources.{name}.{field}.{error}") from None
