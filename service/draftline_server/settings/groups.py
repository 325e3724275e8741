"""The settings by group, with their defaults, ranges and descriptions, except the limits (limits.py)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from . import database_url
from .group import Group

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")


class ServerSettings(Group):
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. An address other than loopback requires authentication and TLS.",
    )
    port: int = Field(50051, ge=0, le=65535, description="Port to listen on. 0 takes any free port.")
    workers: int = Field(
        1, ge=1, le=256, description="Number of server processes. Limits, pools and caches apply to each process."
    )
    worker_timeout_s: float = Field(
        15.0, ge=2, description="With several workers, seconds without a heartbeat after which a worker is killed."
    )
    reflection: bool | None = Field(
        None,
        description="Serve gRPC reflection, which tools such as grpcurl use. "
        "If empty, reflection is served on loopback without authentication only.",
    )
    dangerously_serve_unprotected: bool = Field(
        False,
        description="Serve on an address other than loopback without authentication and TLS. "
        "Anyone who reaches the port can then read and write all data.",
    )
    drain_timeout_s: float = Field(
        10.0, gt=0, description="Seconds that calls in progress may take to finish after SIGTERM."
    )
    call_timeout_s: float = Field(30.0, gt=0, description="Maximum duration of a unary call, in seconds.")
    message_timeout_s: float = Field(
        10.0, gt=0, description="Seconds within which the request message of a call must arrive."
    )
    stream_idle_timeout_s: float = Field(
        60.0, gt=0, description="Seconds after which a stream ends if its client neither sends nor receives anything."
    )
    watch_heartbeat_s: float = Field(
        15.0, gt=0, description="Seconds between two heartbeats to a watcher that receives no changes."
    )
    keepalive_interval_s: float = Field(
        60.0, gt=0, description="Idle seconds after which the server sends a keepalive ping on a connection."
    )
    keepalive_min_interval_s: float = Field(
        30.0,
        gt=0,
        description="Minimum seconds between two pings of a client. Clients that ping faster are disconnected.",
    )
    max_connection_age_s: float = Field(
        3600.0, gt=0, description="Age in seconds at which a connection accepts no further calls; clients reconnect."
    )
    max_connection_age_grace_s: float = Field(
        300.0, gt=0, description="Seconds that the calls of such a connection may still take."
    )

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can reach the address."""
        return self.host in LOOPBACK


class DatabaseSettings(Group):
    names: ClassVar[dict[str, str]] = {"url": "DATABASE_URL"}

    url: str = Field("", description="URL of a PostgreSQL 15 or newer. If empty, an embedded PostgreSQL is started.")
    data_dir: Path = Field(Path(".draftline"), description="Data directory of the embedded PostgreSQL.")
    postgres_bin: Path | None = Field(
        None, description="Directory of the binaries of the embedded PostgreSQL. If empty, they are searched for."
    )
    pool_size: int = Field(20, ge=1, description="Maximum number of database connections in the pool of a process.")
    pool_connect_timeout_s: float = Field(
        10.0, gt=0, description="Maximum seconds to acquire a database connection, from the pool or a new one."
    )
    pool_idle_timeout_s: float = Field(
        30.0, gt=0, description="Seconds after which an unused database connection is closed."
    )
    statement_timeout_s: float = Field(25.0, gt=0, description="Maximum duration of a statement of a call, in seconds.")
    lock_timeout_s: float = Field(10.0, gt=0, description="Maximum seconds that a statement waits for a lock.")
    max_attempts: int = Field(
        5, ge=1, description="Maximum attempts at a transaction that fails because of a concurrent one."
    )
    max_clock_skew_s: float = Field(
        5.0,
        gt=0,
        description="Difference in seconds between the clocks of this host and the database above which a warning "
        "is logged.",
    )
    batch_size: int = Field(
        64,
        ge=1,
        le=1000,
        description="Maximum number of concurrent patches, or reads, that share one statement. 1 turns batching off.",
    )
    enable_partial_updates: bool = Field(
        True,
        description="Merge a patch inside the UPDATE statement. If false, read, merge and replace the record.",
    )
    use_partitioned_tables: bool = Field(
        False,
        description="Create partitioned tables when an empty database is migrated. Otherwise a database keeps the "
        "layout that it has.",
    )

    @field_validator("url")
    @classmethod
    def _has_a_valid_url(cls, url: str) -> str:
        return database_url.checked(url) if url else url


class AuthSettings(Group):
    prefix = "AUTH_"

    jwks: str = Field(
        "", description="Path or https URL of the JSON Web Key Set whose keys verify tokens. If empty, none is used."
    )
    secret_file: Path | None = Field(
        None, description="Text file with a shared secret of at least 32 bytes that verifies tokens."
    )
    service_keys_file: Path | None = Field(
        None, description="JSON file of service keys, as hashes, with the tenants and permissions of each."
    )
    issuer: str = Field("", description="Required `iss` claim of tokens. Must be set if tokens are accepted.")
    audience: str = Field("", description="Required `aud` claim of tokens. Must be set if tokens are accepted.")
    max_lifetime_s: float = Field(
        3600.0, gt=0, description="Maximum lifetime of a token in seconds. Tokens with a longer one are rejected."
    )
    leeway_s: float = Field(30.0, ge=0, description="Allowed clock skew in seconds between this host and the issuer.")
    user_claim: str = Field("sub", min_length=1, description="Token claim that contains the user id.")
    tenants_claim: str = Field(
        "organization_ids", min_length=1, description="Token claim that contains the list of tenant ids."
    )
    permissions_claim: str = Field(
        "scope",
        min_length=1,
        description="Token claim that contains the permissions: a list, or separated by spaces.",
    )

    @property
    def is_enabled(self) -> bool:
        return bool(self.jwks or self.secret_file or self.service_keys_file)

    @model_validator(mode="after")
    def _tokens_have_issuer_and_audience(self) -> AuthSettings:
        if (self.jwks or self.secret_file) and not (self.issuer and self.audience):
            raise ValueError("tokens need both DRAFTLINE_AUTH_ISSUER and DRAFTLINE_AUTH_AUDIENCE")
        return self


class TlsSettings(Group):
    prefix = "TLS_"

    certificate_file: Path | None = Field(
        None, description="PEM file with the server's certificate, followed by intermediate certificates."
    )
    key_file: Path | None = Field(None, description="PEM file with the unencrypted private key of the certificate.")
    client_ca_file: Path | None = Field(
        None,
        description="PEM file with the certificate authorities of client certificates. "
        "If empty, clients need no certificate.",
    )

    @property
    def is_enabled(self) -> bool:
        return self.certificate_file is not None

    @model_validator(mode="after")
    def _belongs_together(self) -> TlsSettings:
        if (self.certificate_file is None) is not (self.key_file is None):
            raise ValueError("TLS needs both DRAFTLINE_TLS_CERTIFICATE_FILE and DRAFTLINE_TLS_KEY_FILE")
        if self.client_ca_file is not None and self.certificate_file is None:
            raise ValueError(
                "DRAFTLINE_TLS_CLIENT_CA_FILE is of no use without TLS: "
                "set DRAFTLINE_TLS_CERTIFICATE_FILE and DRAFTLINE_TLS_KEY_FILE as well"
            )
        return self


class MaintenanceSettings(Group):
    names: ClassVar[dict[str, str]] = {"interval_s": "MAINTENANCE_INTERVAL_S"}

    interval_s: float = Field(
        3600.0, gt=0, description="Seconds between two runs that delete expired changes and request ids."
    )
    change_retention_days: int = Field(
        90, ge=0, description="Minimum number of days that changes are kept. 0 keeps them forever; 1 is not allowed."
    )
    draft_check_interval_s: float = Field(
        86400.0,
        ge=0,
        description="Seconds between two checks that drafts are consistent with their records. 0 turns the check off.",
    )

    tenant_count_interval_s: float = Field(
        300.0,
        gt=0,
        description="Seconds between two counts of what each tenant uses, for ListTenants and quotas. Counts that take "
        "long are made less often, so that they take a tenth of the time at most.",
    )

    @field_validator("change_retention_days")
    @classmethod
    def _outlives_requests(cls, days: int) -> int:
        if days == 1:
            raise ValueError(
                "must be 0 or at least 2, because changes are kept longer than the request ids of their calls"
            )
        return days

    @property
    def change_retention(self) -> timedelta | None:
        """The time for which changes are kept; None: forever."""
        return timedelta(days=self.change_retention_days) if self.change_retention_days else None


class SyncSettings(Group):
    names: ClassVar[dict[str, str]] = {"mode": "SYNC", "upstreams_file": "UPSTREAMS_FILE"}

    mode: Literal["auto", "inline", "off"] = Field(
        "auto",
        description="Whether `draftline serve` runs the workers of syncs: inline, off (run `draftline sync`), or auto: "
        "inline with the embedded PostgreSQL only. Without DRAFTLINE_UPSTREAMS_FILE there is nothing to run.",
    )
    upstreams_file: Path | None = Field(
        None, description="JSON file of the systems of record that syncs may use, and of the files of their secrets."
    )


class MetricsSettings(Group):
    prefix = "METRICS_"

    host: str = Field(
        "127.0.0.1", description="Address that serves /metrics, /livez and /readyz, without authentication."
    )
    port: int | None = Field(
        9464,
        ge=0,
        le=65535,
        description="Port of these pages. 0 takes any free port, as does the default if it is in use. "
        "If empty, they are not served.",
    )


class LogSettings(Group):
    prefix = "LOG_"
    names: ClassVar[dict[str, str]] = {
        "access": "ACCESS_LOG",
        "slow_call_s": "SLOW_CALL_S",
        "slow_statement_s": "SLOW_STATEMENT_S",
    }

    format: Literal["console", "json"] = Field("console", description="Format of log lines: console or json.")
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum level of log lines: debug, info, warning or error."
    )
    access: Literal["all", "notable", "none"] = Field(
        "all", description="Calls to log: all, notable (server errors and slow unary calls) or none."
    )
    slow_call_s: float = Field(1.0, gt=0, description="Duration in seconds from which a unary call is slow.")
    slow_statement_s: float = Field(0.5, gt=0, description="Duration in seconds from which a statement is logged.")


class TraceSettings(Group):
    prefix = "TRACE_"

    endpoint: str = Field(
        "",
        description="URL to which traces are sent by OTLP over gRPC, such as http://127.0.0.1:4317. "
        "If empty, calls are not traced.",
    )
    sample_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Fraction of root traces to sample. Calls with a traceparent follow the caller's decision.",
    )

    @field_validator("endpoint")
    @classmethod
    def _is_url(cls, endpoint: str) -> str:
        if endpoint and (not endpoint.startswith(("http://", "https://")) or len(endpoint.split()) != 1):
            raise ValueError("must be an http:// or https:// URL, or empty for no traces")
        return endpoint
