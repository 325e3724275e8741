"""Map the settings to the options of the components.

Importing this module must stay cheap, because commands do so that do not start the server.
"""

from __future__ import annotations

from .auth.authentication import Authenticator, NoAuthentication, TokenAuthentication
from .auth.keys import KeyOptions, Keys
from .auth.tokens import TokenRules
from .domain.content import Limits
from .domain.quotas import QuotaOptions
from .observability.http_endpoints import Address
from .rpc.admission import AdmissionOptions
from .rpc.health_client import ChannelSecurity, pinned_security
from .rpc.import_pace import PaceOptions
from .rpc.server_options import ServerOptions
from .rpc.tls import TlsFiles
from .settings import AuthSettings, DatabaseSettings, LimitSettings, MetricsSettings, Settings, TlsSettings
from .store.pool_settings import PoolSettings


def pool_settings(database: DatabaseSettings) -> PoolSettings:
    return PoolSettings(
        size=database.pool_size,
        connect_timeout_s=database.pool_connect_timeout_s,
        idle_timeout_s=database.pool_idle_timeout_s,
        statement_timeout_s=database.statement_timeout_s,
        lock_timeout_s=database.lock_timeout_s,
        max_attempts=database.max_attempts,
    )


def content_limits(limits: LimitSettings) -> Limits:
    return Limits(limits.max_content_bytes, limits.max_content_depth, limits.max_content_nodes)


def quota_options(limits: LimitSettings) -> QuotaOptions:
    return QuotaOptions(limits.max_records_per_tenant, limits.max_bytes_per_tenant, limits.max_drafts_per_tenant)


def token_rules(auth: AuthSettings) -> TokenRules:
    return TokenRules(
        issuer=auth.issuer,
        audience=auth.audience,
        max_lifetime_s=auth.max_lifetime_s,
        leeway_s=auth.leeway_s,
        user_claim=auth.user_claim,
        tenants_claim=auth.tenants_claim,
        permissions_claim=auth.permissions_claim,
    )


def authenticator(auth: AuthSettings) -> Authenticator:
    if not auth.is_enabled:
        return NoAuthentication()
    keys = KeyOptions(auth.jwks, auth.secret_file, auth.service_keys_file)
    return TokenAuthentication(Keys(keys), token_rules(auth))


def tls_files(tls: TlsSettings) -> TlsFiles | None:
    if tls.certificate_file is None or tls.key_file is None:
        return None
    return TlsFiles(tls.certificate_file, tls.key_file, tls.client_ca_file)


def own_security(tls: TlsSettings) -> ChannelSecurity:
    """Return the channel security for calls to the service that has these settings."""
    files = tls_files(tls)
    return ChannelSecurity() if files is None else pinned_security(files)


def metrics_address(metrics: MetricsSettings) -> Address | None:
    """Return the address to serve metrics on, or None.

    The default port gives way to any free port if it is in use, because several services may run on one machine. A port
    that was configured does not.
    """
    if metrics.port is None:
        return None
    return Address(metrics.host, metrics.port, falls_back="port" not in metrics.model_fields_set)


def server_options(settings: Settings, *, shares_port: bool) -> ServerOptions:
    server, limits = settings.server, settings.limits
    reflection = server.reflection
    if reflection is None:  # the default: only for development
        reflection = server.is_loopback and not settings.auth.is_enabled
    return ServerOptions(
        address=f"{server.host}:{server.port}",
        shares_port=shares_port,
        reflection=reflection,
        call_timeout_s=server.call_timeout_s,
        message_timeout_s=server.message_timeout_s,
        stream_idle_timeout_s=server.stream_idle_timeout_s,
        import_pace=PaceOptions(
            idle_s=server.stream_idle_timeout_s,
            total_s=limits.import_timeout_s,
            min_bytes_per_s=limits.import_min_bytes_per_s,
        ),
        drain_timeout_s=server.drain_timeout_s,
        max_request_bytes=limits.max_request_bytes,
        max_response_bytes=limits.max_response_bytes,
        max_metadata_bytes=limits.max_metadata_bytes,
        max_receive_buffer_bytes=limits.max_receive_buffer_bytes,
        max_send_buffer_bytes=limits.max_send_buffer_bytes,
        max_calls=limits.max_calls,
        max_connections=limits.max_connections,
        max_streams=limits.max_streams_per_connection,
        max_connection_age_s=server.max_connection_age_s,
        max_connection_age_grace_s=server.max_connection_age_grace_s,
        keepalive_interval_s=server.keepalive_interval_s,
        keepalive_min_interval_s=server.keepalive_min_interval_s,
        admission=AdmissionOptions(limits.max_in_flight, limits.queue_limit, limits.queue_timeout_s),
    )
