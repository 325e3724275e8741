"""Opens connections to the endpoints of the operator's file, with the connector of their kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points

from draftline.upstreams import CollectionBinding, Connector, Endpoint, Upstream

from .definitions import Grpc, HttpJson, Plugin, Postgres
from .endpoints_file import ConfiguredEndpoint, Endpoints

ENTRY_POINTS = "draftline.upstreams"


class UnknownEndpointError(LookupError):
    """The file has no endpoint of this name for this tenant."""


class Upstreams:
    """The endpoints as the file has them now. `current` returns the last valid content of the file."""

    def __init__(self, current: Callable[[], Endpoints]) -> None:
        self._current = current

    def find(self, name: str, tenant_id: str) -> ConfiguredEndpoint:
        """Return an endpoint. Raise UnknownEndpointError if there is none, or if the tenant may not use it.

        An endpoint that was found before and differs now has changed in the file: close its connections.
        """
        endpoint = self._current().get(name)
        if endpoint is None or not endpoint.allows(tenant_id):
            raise UnknownEndpointError(
                f"there is no endpoint {name!r} for this tenant; the operator adds it to DRAFTLINE_UPSTREAMS_FILE"
            )
        return endpoint

    def open(self, name: str, tenant_id: str, bindings: Sequence[CollectionBinding]) -> Upstream:
        """Return the connection of a tenant, without any I/O.

        Raises UnknownEndpointError like `find`, and ValueError if the definition or a binding cannot be used.
        """
        endpoint = self.find(name, tenant_id)
        try:
            return _open(endpoint, tenant_id, bindings)
        except ValueError as error:
            raise ValueError(f"endpoint {name!r}: {error}") from None


def _open(endpoint: ConfiguredEndpoint, tenant_id: str, bindings: Sequence[CollectionBinding]) -> Upstream:
    # Connectors are imported when they are needed: each brings a library.
    definition = endpoint.definition
    if isinstance(definition, Grpc):
        from .grpc_connector import GrpcUpstream  # noqa: PLC0415

        return GrpcUpstream(endpoint, definition, tenant_id, bindings)
    if isinstance(definition, HttpJson):
        from .http_json.connector import HttpJsonUpstream  # noqa: PLC0415

        return HttpJsonUpstream(endpoint, definition, tenant_id, bindings)
    if isinstance(definition, Postgres):
        from .postgres.connector import PostgresUpstream  # noqa: PLC0415

        return PostgresUpstream(endpoint, definition, tenant_id, bindings)
    return plugin(definition.kind)(_plugin_endpoint(endpoint, definition), tenant_id, bindings)


def plugin(kind: str) -> Connector:
    """Return the connector that an installed package names. Raise ValueError if there is none."""
    found = entry_points(group=ENTRY_POINTS, name=kind)
    if not found:
        raise ValueError(f"kind: no installed package has the entry point {kind!r} in the group {ENTRY_POINTS}")
    connector: Connector = next(iter(found)).load()
    return connector


def _plugin_endpoint(endpoint: ConfiguredEndpoint, definition: Plugin) -> Endpoint:
    secrets = {name: endpoint.secrets[file] for name, file in definition.secret_files.items()}
    return Endpoint(name=endpoint.name, kind=definition.kind, options=definition.options, secrets=secrets)
