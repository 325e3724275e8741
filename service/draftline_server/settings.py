"""Settings: the one place that reads the environment. Each is `DRAFTLINE_` and its name."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="DRAFTLINE_", env_file=None)

    database_url: str = Field("", description="PostgreSQL 15 or newer; empty: the embedded one")
    data_dir: Path = Field(Path(".draftline"), description="where the embedded PostgreSQL keeps its data")
    postgres_bin: Path | None = Field(None, description="binaries for the embedded PostgreSQL; empty: found")

    host: str = Field("127.0.0.1", description="address to listen on; loopback alone until there is authentication")
    port: int = Field(50051, ge=0, le=65535, description="port to listen on; 0: any free one")
    reflection: bool = Field(True, description="whether grpcurl may ask for the contract")

    enable_partial_updates: bool = Field(True, description="merge in the UPDATE; false: fetch, merge and replace")

    drain_timeout_s: float = Field(10.0, gt=0, description="how long calls may go on after SIGTERM")
    call_timeout_s: float = Field(30.0, gt=0, description="the longest a unary call may take")
    stream_idle_timeout_s: float = Field(60.0, gt=0, description="how long the other end of a stream may be idle")
    watch_heartbeat_s: float = Field(15.0, gt=0, description="between two signs of life to a watcher")
    max_watchers: int = Field(2_000, gt=0, description="watchers at once")
    max_imports: int = Field(8, gt=0, description="imports at once; each holds a connection")
    max_request_bytes: int = Field(16 * 1024 * 1024, gt=0, description="largest message that is read")
    max_response_bytes: int = Field(16 * 1024 * 1024, gt=0, description="largest message that is sent")

    max_content_bytes: int = Field(1024 * 1024, gt=0, description="largest content, as JSON text")
    max_content_depth: int = Field(32, gt=0, le=32, description="levels of nesting in a content")
    max_content_nodes: int = Field(10_000, gt=0, description="values in a document that is sent")

    pool_size: int = Field(20, gt=0, description="connections to the database")
    pool_connect_timeout_s: float = Field(10.0, gt=0, description="how long a connection may take to be had")
    pool_idle_timeout_s: float = Field(30.0, gt=0, description="how long an idle connection is kept")
    statement_timeout_s: float = Field(30.0, gt=0, description="the longest a statement may run")
    retries: int = Field(5, ge=1, description="attempts at a transaction that collides with others")

    log_format: str = Field("console", pattern="^(console|json)$", description="console or json")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error")
