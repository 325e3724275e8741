"""The settings that limit what callers can use."""

from __future__ import annotations

from pydantic import Field

from .group import Group

MiB = 1024 * 1024


class LimitSettings(Group):
    max_request_bytes: int = Field(16 * MiB, ge=1, description="Maximum size of a request message, in bytes.")
    max_response_bytes: int = Field(16 * MiB, ge=1, description="Maximum size of a response message, in bytes.")
    max_metadata_bytes: int = Field(
        16 * 1024, ge=1024, description="Maximum size of the metadata of a call, including its token, in bytes."
    )
    max_receive_buffer_bytes: int = Field(
        256 * MiB,
        ge=1,
        description="Maximum bytes of partially received requests on all connections together. Linux only.",
    )
    max_send_buffer_bytes: int = Field(
        256 * MiB,
        ge=1,
        description="Maximum bytes of responses that clients have not read yet. "
        "A tenant may use half of what the others leave.",
    )
    max_calls: int = Field(3_000, ge=1, description="Maximum number of concurrent calls, including watchers.")
    max_in_flight: int = Field(
        256,
        ge=1,
        description="Maximum number of calls that run concurrently, excluding watchers. "
        "An eighth is reserved for tenants that have no call running.",
    )
    queue_limit: int = Field(
        512,
        ge=0,
        description="Maximum number of calls that wait to run. A tenant may use half of what the others leave.",
    )
    queue_timeout_s: float = Field(
        2.0,
        gt=0,
        description="Maximum seconds that a call waits to run. A call that would wait longer is rejected at once.",
    )
    max_connections: int = Field(
        2_000, ge=1, description="Maximum number of client connections. Further ones are closed at once."
    )
    max_streams_per_connection: int = Field(
        100, ge=1, description="Maximum number of concurrent calls per connection. The client holds back further ones."
    )
    max_watchers: int = Field(2_000, ge=1, description="Maximum number of concurrent watchers.")
    max_imports: int = Field(
        8, ge=1, description="Maximum number of concurrent imports. Each uses a database connection."
    )
    import_timeout_s: float = Field(3600.0, gt=0, description="Maximum duration of an import, in seconds.")
    import_min_bytes_per_s: float = Field(
        1024.0, ge=0, description="Minimum rate at which a client must send an import, in bytes per second. 0: none."
    )
    max_content_bytes: int = Field(1 * MiB, ge=1, description="Maximum size of a record's content as JSON, in bytes.")
    max_content_depth: int = Field(32, ge=1, le=32, description="Maximum nesting depth of a record's content.")
    max_content_nodes: int = Field(10_000, ge=1, description="Maximum number of values in a record's content.")
    max_indexes_per_tenant: int = Field(
        200, ge=1, description="Maximum number of declared fields and orders per tenant. Each has an index."
    )
    max_records_per_tenant: int = Field(
        0, ge=0, description="Quota of records per tenant, including deleted ones that are not purged. 0: none."
    )
    max_bytes_per_tenant: int = Field(
        0, ge=0, description="Quota of bytes of contents per tenant, as stored, after compression. 0: none."
    )
    max_drafts_per_tenant: int = Field(0, ge=0, description="Quota of drafts per tenant, of all its users. 0: none.")
    json_schema_timeout_s: float = Field(
        1.0, gt=0, description="Maximum CPU time in seconds to validate a content by the JSON Schema of its collection."
    )
