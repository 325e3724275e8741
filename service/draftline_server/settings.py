"""Settings, the only module that reads the environment. Each variable is `DRAFTLINE_` followed by the name."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "DRAFTLINE_"

# Former names and the current ones. Version 0.1 reads both; 0.2 will read the current ones only.
RENAMED = {
    "DRAFTLINE_LOG_KEEPING_INTERVAL_S": "DRAFTLINE_MAINTENANCE_INTERVAL_S",
    "DRAFTLINE_MAX_CONNECTION_GRACE_S": "DRAFTLINE_MAX_CONNECTION_AGE_GRACE_S",
    "DRAFTLINE_MAX_GROUP_SIZE": "DRAFTLINE_BATCH_SIZE",
    "DRAFTLINE_MAX_RECEIVING_BYTES": "DRAFTLINE_MAX_RECEIVE_BUFFER_BYTES",
    "DRAFTLINE_MAX_SENDING_BYTES": "DRAFTLINE_MAX_SEND_BUFFER_BYTES",
    "DRAFTLINE_MAX_WAITING": "DRAFTLINE_QUEUE_LIMIT",
    "DRAFTLINE_MAX_WAIT_S": "DRAFTLINE_QUEUE_TIMEOUT_S",
    "DRAFTLINE_MIN_PING_INTERVAL_S": "DRAFTLINE_KEEPALIVE_MIN_INTERVAL_S",
    "DRAFTLINE_PING_INTERVAL_S": "DRAFTLINE_KEEPALIVE_INTERVAL_S",
    "DRAFTLINE_RETRIES": "DRAFTLINE_MAX_ATTEMPTS",
    "DRAFTLINE_SCHEMA_TIMEOUT_S": "DRAFTLINE_JSON_SCHEMA_TIMEOUT_S",
    "DRAFTLINE_TRACES_ENDPOINT": "DRAFTLINE_TRACE_ENDPOINT",
    "DRAFTLINE_TRACES_SAMPLED_PART": "DRAFTLINE_TRACE_SAMPLE_RATIO",
}


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="DRAFTLINE_", env_file=None)

    database_url: str = Field("", description="PostgreSQL 15 or newer; empty: the embedded one")
    data_dir: Path = Field(Path(".draftline"), description="where the embedded PostgreSQL keeps its data")
    postgres_bin: Path | None = Field(None, description="binaries for the embedded PostgreSQL; empty: found")

    host: str = Field(
        "127.0.0.1", description="address to listen on; beyond loopback needs both authentication and TLS"
    )
    port: int = Field(50051, ge=0, le=65535, description="port to listen on; 0: any free one")
    workers: int = Field(1, ge=1, le=256, description="processes that serve; limits, pools and caches are of each")
    worker_timeout_s: float = Field(
        15.0, ge=2, description="how long one of several workers may give no sign of life before it is killed"
    )
    reflection: bool | None = Field(
        None, description="whether grpcurl may ask for the contract; empty: on loopback without authentication"
    )
    dangerously_serve_unprotected: bool = Field(
        False, description="listen beyond loopback all the same: whoever gets there reads and writes everything"
    )

    auth_jwks: str = Field("", description="keys that sign tokens: the path or the https address of a JWK set")
    auth_secret_file: Path | None = Field(
        None, description="text file with a secret of 32 bytes or more, which signs tokens"
    )
    auth_service_keys_file: Path | None = Field(None, description="keys of services, hashed, with what each may do")
    auth_issuer: str = Field("", description="the `iss` that tokens must have")
    auth_audience: str = Field("", description="the `aud` that tokens must have")
    auth_max_lifetime_s: float = Field(3600.0, gt=0, description="the longest that a token may be good for")
    auth_leeway_s: float = Field(30.0, ge=0, description="how far the clock of the issuer may be off")
    auth_user_claim: str = Field("sub", min_length=1, description="the claim that names the user")
    auth_tenants_claim: str = Field("organization_ids", min_length=1, description="the claim that lists the tenants")
    auth_permissions_claim: str = Field("scope", min_length=1, description="the claim that lists the permissions")

    tls_certificate_file: Path | None = Field(None, description="the server's certificate and those above it, PEM")
    tls_key_file: Path | None = Field(None, description="its key, PEM, without a password")
    tls_client_ca_file: Path | None = Field(None, description="whose certificates callers must have; empty: none")

    batch_size: int = Field(
        64,
        ge=1,
        le=1000,
        description="single patches, or single reads, that share a statement; 1: each has its own",
    )
    enable_partial_updates: bool = Field(True, description="merge in the UPDATE; false: fetch, merge and replace")

    drain_timeout_s: float = Field(10.0, gt=0, description="how long calls may go on after SIGTERM")
    call_timeout_s: float = Field(30.0, gt=0, description="the longest a unary call may take")
    message_timeout_s: float = Field(10.0, gt=0, description="how long the message of a call may take to arrive")
    stream_idle_timeout_s: float = Field(60.0, gt=0, description="how long the other end of a stream may be idle")
    watch_heartbeat_s: float = Field(15.0, gt=0, description="between two signs of life to a watcher")
    max_watchers: int = Field(2_000, gt=0, description="watchers at once")
    change_retention_days: int = Field(90, ge=0, description="how long changes are kept at least; 0: for ever")
    maintenance_interval_s: float = Field(3600.0, gt=0, description="between two looks for what is too old to keep")
    draft_check_interval_s: float = Field(
        86400.0, ge=0, description="between two checks that drafts are in step with their records; 0: none"
    )
    max_clock_skew_s: float = Field(
        5.0, gt=0, description="how far this host's clock may be off the database's before it is told"
    )
    max_imports: int = Field(8, gt=0, description="imports at once; each holds a connection")
    import_timeout_s: float = Field(3600.0, gt=0, description="the longest that an import may take")
    import_min_bytes_per_s: float = Field(
        1024.0, ge=0, description="slowest rate at which an import may be sent, apart from pauses; 0: any"
    )
    max_request_bytes: int = Field(16 * 1024 * 1024, gt=0, description="largest message that is read")
    max_receive_buffer_bytes: int = Field(
        256 * 1024 * 1024, gt=0, description="messages that have arrived in part, of all connections; Linux only"
    )
    max_send_buffer_bytes: int = Field(
        256 * 1024 * 1024,
        gt=0,
        description="answers that callers have not read yet; one tenant's leave as much to others",
    )
    max_response_bytes: int = Field(16 * 1024 * 1024, gt=0, description="largest message that is sent")
    max_metadata_bytes: int = Field(16 * 1024, ge=1024, description="most metadata of a call, its token included")
    max_calls: int = Field(3_000, gt=0, description="calls at once, watchers included")
    max_in_flight: int = Field(
        256, gt=0, description="calls that run at once but for watchers; some are kept for tenants with none"
    )
    queue_limit: int = Field(512, ge=0, description="calls that wait to run; one tenant's leave as much room to others")
    queue_timeout_s: float = Field(
        2.0, gt=0, description="how long a call may wait to run; if it would be longer, it is refused"
    )
    max_connections: int = Field(2_000, gt=0, description="connections at once; others are closed at once")
    max_streams_per_connection: int = Field(100, gt=0, description="calls at once on a connection; others wait there")
    max_connection_age_s: float = Field(3600.0, gt=0, description="after which a connection takes no further calls")
    max_connection_age_grace_s: float = Field(300.0, gt=0, description="how long its calls may go on")
    keepalive_interval_s: float = Field(60.0, gt=0, description="after which a silent connection is tried")
    keepalive_min_interval_s: float = Field(30.0, gt=0, description="callers that ping more often are disconnected")

    max_content_bytes: int = Field(1024 * 1024, gt=0, description="largest content, as JSON text")
    max_content_depth: int = Field(32, gt=0, le=32, description="levels of nesting in a content")
    max_content_nodes: int = Field(10_000, gt=0, description="values in a document that is sent")
    max_indexes_per_tenant: int = Field(
        200, gt=0, description="fields and orders that a tenant may declare, each with an index"
    )
    json_schema_timeout_s: float = Field(1.0, gt=0, description="processor time that a check by a JSON Schema may take")

    pool_size: int = Field(20, gt=0, description="connections to the database")
    pool_connect_timeout_s: float = Field(10.0, gt=0, description="how long a connection may take to be had")
    pool_idle_timeout_s: float = Field(30.0, gt=0, description="how long an idle connection is kept")
    statement_timeout_s: float = Field(25.0, gt=0, description="the longest a statement of a call may run")
    lock_timeout_s: float = Field(10.0, gt=0, description="how long a statement may wait for what another holds")
    max_attempts: int = Field(5, ge=1, description="attempts at a transaction that collides with others")

    metrics_host: str = Field("127.0.0.1", description="address of /metrics, /livez and /readyz, which are open to all")
    metrics_port: int | None = Field(
        9464, ge=0, le=65535, description="their port; 0: any free one, as where the default is taken; empty: none"
    )

    access_log: str = Field(
        "all",
        pattern="^(all|notable|none)$",
        description="calls that are logged: all, notable (the service failed, or it took long) or none",
    )
    slow_call_s: float = Field(1.0, gt=0, description="how long a unary call takes that is notable")
    slow_statement_s: float = Field(0.5, gt=0, description="how long a statement takes that is logged")
    trace_endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="where traces go by OTLP over gRPC, as http://127.0.0.1:4317; empty: there are none",
    )
    trace_sample_ratio: float = Field(
        1.0, ge=0, le=1, description="of the traces that begin here; those of callers go by them"
    )
    log_format: str = Field("console", pattern="^(console|json)$", description="console or json")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Environment(settings_cls)

    @model_validator(mode="before")
    @classmethod
    def _has_one_name_each(cls, values: Any) -> Any:
        given = _variables()
        both = [(former, name) for former, name in renamed_settings().items() if name in given]
        if both:
            raise ValueError(
                "; ".join(
                    f"{former} is the former name of {name}, and both are set: unset {former}" for former, name in both
                )
            )
        return values

    @field_validator("metrics_port", mode="before")
    @classmethod
    def _may_be_empty(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("database_url")
    @classmethod
    def _is_of_postgresql(cls, url: str) -> str:
        if url and not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://, or be empty for the embedded one")
        return url

    @field_validator("change_retention_days")
    @classmethod
    def _outlives_requests(cls, days: int) -> int:
        if days == 1:
            raise ValueError("must be 0 or at least 2, for changes are kept longer than the requests that wrote them")
        return days

    @model_validator(mode="after")
    def _belongs_together(self) -> Settings:
        if (self.auth_jwks or self.auth_secret_file) and not (self.auth_issuer and self.auth_audience):
            raise ValueError("tokens need both DRAFTLINE_AUTH_ISSUER and DRAFTLINE_AUTH_AUDIENCE")
        if (self.tls_certificate_file is None) is not (self.tls_key_file is None):
            raise ValueError("TLS needs both DRAFTLINE_TLS_CERTIFICATE_FILE and DRAFTLINE_TLS_KEY_FILE")
        if self.tls_client_ca_file is not None and self.tls_certificate_file is None:
            raise ValueError("DRAFTLINE_TLS_CLIENT_CA_FILE is of no use without TLS")
        return self

    @property
    def has_authentication(self) -> bool:
        return bool(self.auth_jwks or self.auth_secret_file or self.auth_service_keys_file)


# Variables of the command line, which are not settings of the service.
_OTHERS = {"DRAFTLINE_TOKEN"}


class _Environment(PydanticBaseSettingsSource):
    """The variables of the environment, by the names of the fields."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        given, name = _variables(), PREFIX + field_name.upper()
        former = next((old for old, new in RENAMED.items() if new == name and old in given), name)
        return given.get(name, given.get(former)), field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in values.items() if value is not None}


def _variables() -> dict[str, str]:
    return {name.upper(): value for name, value in os.environ.items() if name.upper().startswith(PREFIX)}


def renamed_settings() -> dict[str, str]:
    """Return the variables that are set under a former name, each with its current name."""
    given = _variables()
    return {former: name for former, name in RENAMED.items() if former in given}


def unknown_settings() -> dict[str, str]:
    """Return the unknown DRAFTLINE_ variables, each with the most similar setting, or an empty string."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    given = sorted(_variables().keys() - known - _OTHERS - RENAMED.keys())
    return {name: next(iter(get_close_matches(name, known, n=1)), "") for name in given}


def problems_of(error: ValidationError) -> list[str]:
    """Return a sentence for each invalid setting, which begins with its name unless it concerns several settings."""
    return [_named(problem["loc"]) + problem["msg"].removeprefix("Value error, ") for problem in error.errors()]


def _named(location: tuple[int | str, ...]) -> str:
    if not location:
        return ""
    name = f"{PREFIX}{location[0]}".upper()
    former = next((old for old, new in renamed_settings().items() if new == name), "")
    return f"{name} (set as {former}): " if former else f"{name}: "
