"""Mapping of the settings to each component's options."""

from __future__ import annotations

from datetime import timedelta

from .access import LOOPBACK
from .observability.http_endpoints import Address
from .rpc.admission import AdmissionOptions
from .rpc.import_pace import PaceOptions
from .rpc.server import ServerOptions
from .settings import Settings
from .store.pool import PoolSettings


def retention(settings: Settings) -> timedelta | None:
    return timedelta(days=settings.change_retention_days) if settings.change_retention_days else None


def pool_settings(settings: Settings) -> PoolSettings:
    return PoolSettings(
        settings.pool_size,
        settings.pool_connect_timeout_s,
        settings.pool_idle_timeout_s,
        settings.statement_timeout_s,
        settings.lock_timeout_s,
        settings.max_attempts,
    )


def server_options(settings: Settings, *, shares_port: bool) -> ServerOptions:
    return ServerOptions(
        f"{settings.host}:{settings.port}",
        shares_port,
        _reflects(settings),
        settings.call_timeout_s,
        settings.message_timeout_s,
        settings.stream_idle_timeout_s,
        PaceOptions(settings.stream_idle_timeout_s, settings.import_timeout_s, settings.import_min_bytes_per_s),
        settings.drain_timeout_s,
        settings.max_request_bytes,
        settings.max_response_bytes,
        settings.max_metadata_bytes,
        settings.max_receive_buffer_bytes,
        settings.max_send_buffer_bytes,
        settings.max_calls,
        settings.max_connections,
        settings.max_streams_per_connection,
        settings.max_connection_age_s,
        settings.max_connection_age_grace_s,
        settings.keepalive_interval_s,
        settings.keepalive_min_interval_s,
        AdmissionOptions(settings.max_in_flight, settings.queue_limit, settings.queue_timeout_s),
    )


def _reflects(settings: Settings) -> bool:
    """Return whether reflection is enabled: by default only for development, on loopback without authentication."""
    if settings.reflection is not None:
        return settings.reflection
    return settings.host in LOOPBACK and not settings.has_authentication


def metrics_address(settings: Settings) -> Address | None:
    """Return the address to serve metrics on, or None.

    If no port was configured explicitly and the default is in use, any free port is used: several services may run on
    one machine.
    """
    if settings.metrics_port is None:
        return None
    return Address(settings.metrics_host, settings.metrics_port, "metrics_port" not in settings.model_fields_set)
