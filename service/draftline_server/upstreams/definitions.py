"""The form of the operator's file of upstreams: endpoints, authentication, resources."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Pointer = Annotated[str, Meta(pattern=r"^(/([^~/]|~[01])*)*$", max_length=512)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
RelativeUrl = Annotated[str, Meta(min_length=1, max_length=2048)]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A member of the file whose unknown fields are errors."""


# Authentication


class Bearer(Strict, frozen=True, kw_only=True, tag="bearer", tag_field="kind"):
    """`authorization: Bearer` with the text of a file."""

    secret_file: Name


class Basic(Strict, frozen=True, kw_only=True, tag="basic", tag_field="kind"):
    """HTTP Basic (RFC 7617)."""

    user: Name
    secret_file: Name


class OAuth(Strict, frozen=True, kw_only=True, tag="oauth_client_credentials", tag_field="kind"):
    """A token of the client credentials grant (RFC 6749, section 4.4), which is renewed before it expires."""

    token_url: Name
    client_id: Name
    secret_file: Name
    scope: str = ""
    audience: str = ""


class Signature(Strict, frozen=True, kw_only=True, tag="webhook_signature", tag_field="kind"):
    """The symmetric signature of Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`."""

    secret_file: Name  # `whsec_` and base64, or plain text


Auth = Bearer | Basic | OAuth | Signature


class Tls(Strict, frozen=True, kw_only=True):
    """Trust and client certificate. Without `ca_file`, the trust store of the system is used."""

    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""


# Endpoints


class Common(Strict, frozen=True, kw_only=True):
    """The fields that every kind of endpoint has."""

    tenants: Annotated[tuple[Name, ...], Meta(min_length=1)]  # `*`: every tenant
    networks: tuple[str, ...] = ()  # CIDR; the addresses besides global ones to which connections may be made
    rate_per_s: Annotated[float, Meta(gt=0, le=100_000)] | None = None  # requests; None: no limit
    parallel: Annotated[int, Meta(ge=1, le=64)] = 8  # requests at the same time
    timeout_s: Seconds = 30.0  # of one request


class Single(Strict, frozen=True, kw_only=True):
    """One request for one record. `url` is relative to `base_url` (RFC 6570, level 1).

    `{id}` is the remote id, `{record_id}` the client reference. A creation by PUT sends `If-None-Match: *`.
    """

    url: RelativeUrl
    method: Literal["", "POST", "PUT", "PATCH", "DELETE"] = ""  # empty: by the operation
    content_type: str = ""  # empty: by the format


class UpdateRequest(Single, frozen=True, kw_only=True):
    """The request for edits of a record.

    `merge_patch`: RFC 7396. `json_patch`: RFC 6902. `scim_patch`: RFC 7644, section 3.5.2. `replace`: the record is
    read first, and sent whole.
    """

    format: Literal["merge_patch", "json_patch", "scim_patch", "replace"] = "merge_patch"


class Batch(Strict, frozen=True, kw_only=True):
    """One request for many records, with an array of items and an array of results in the same order."""

    url: RelativeUrl
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    content_type: str = "application/json"
    max_items: Annotated[int, Meta(ge=1, le=5000)] = 100
    atomic: bool = False  # the system applies all items or none
    items: Pointer = "/items"  # in the request
    operation: Pointer = "/operation"  # in an item: `create`, `update` or `delete`
    key: Pointer = "/idempotency_key"
    id: Pointer = "/id"
    expected_version: Pointer = "/if_match"
    record: Pointer = "/record"  # the created item, or the merge patch of the updated one
    results: Pointer = "/results"  # in the response
    status: Pointer = "/status"  # in a result: a status of HTTP
    result: Pointer = "/record"  # in a result: the stored item, or the error


class Paging(Strict, frozen=True, kw_only=True):
    """A read in pages. `{cursor}` and `{offset}` in `url` are filled in."""

    url: RelativeUrl
    items: Pointer = "/items"
    next: Pointer = ""  # the URL of the next page
    link_header: bool = False  # the next page is in `Link: <…>; rel="next"` (RFC 8288)
    cursor: Pointer = ""  # the value for `{cursor}` of the next page, and of the next read of changes
    more: Pointer = ""  # with `cursor`: false on the last page. Without it, a page without items is the last one
    offset: bool = False  # pages are numbered by the count of the items before them
    offset_start: int = 0
    delta: Pointer = ""  # the URL of the next read of changes, on the last page
    changes_cursor: Pointer = ""  # of a list: the value for `{cursor}` of the first read of changes, on the last page
    updated: Pointer = ""  # in an item: the time or number by which changes are read; its largest value is the cursor
    overlap_s: Annotated[float, Meta(ge=0)] = 300.0  # how far a read goes back behind the largest `updated`


class Search(Strict, frozen=True, kw_only=True):
    """The read that finds a record by its client reference, `{record_id}`, when a creation finds that it exists."""

    url: RelativeUrl
    items: Pointer = "/items"


class Errors(Strict, frozen=True, kw_only=True):
    """The position of error details in the body of a response."""

    reason: Pointer = "/code"
    message: Pointer = "/message"
    fields: Pointer = "/fields"  # an array
    field_path: Pointer = "/path"  # in a field: a JSON Pointer, or the name of a field
    field_message: Pointer = "/message"


class Resource(Strict, frozen=True, kw_only=True):
    """A kind of record of an HTTP API."""

    item: Pointer = ""  # the record in the body of a request and response for one record
    id: Pointer = "/id"  # this and all following pointers begin at the record
    version: Pointer = ""  # empty: the ETag of responses for one record
    reference: Pointer = ""  # the client reference. Empty: the API stores none
    unique_reference: bool = False  # the API answers a second creation with the same reference by 409
    document: Pointer = ""  # the object that contains the fields
    deleted: Pointer = ""  # a value other than false and null marks a deleted record
    constants: dict[Pointer, Any] = {}  # members of every record that is sent
    send_id: bool = False  # updates contain the id
    create: Single | None = None
    update: UpdateRequest | None = None
    delete: Single | None = None
    read: Single | None = None
    find: Search | None = None
    batch: Batch | None = None
    list: Paging | None = None
    changes: Paging | None = None
    errors: Errors = Errors()
    idempotency_keys_s: Annotated[float, Meta(ge=0)] = 0.0  # how long the API remembers keys; 0: it has none
    idempotency_header: str = "idempotency-key"
    conditional_writes: bool = False  # the API honours If-Match
    ordered_versions: bool = False
    deletions_in_changes: bool = False
    read_lag_s: Annotated[float, Meta(ge=0)] = 0.0
    prefer_representation: bool = True  # sends `Prefer: return=representation`
    headers: dict[str, str] = {}


class HttpJson(Common, frozen=True, kw_only=True, tag="http_json", tag_field="kind"):
    """A JSON API over HTTP."""

    base_url: Name
    auth: Auth | None = None
    tls: Tls = Tls()
    resources: Annotated[dict[Name, Resource], Meta(min_length=1)]


class Grpc(Common, frozen=True, kw_only=True, tag="grpc", tag_field="kind"):
    """A system that implements `draftline.v1.UpstreamService`."""

    address: Name  # host:port
    auth: Auth | None = None
    tls: Tls | None = Tls()  # None: plain text, which needs `networks`


Identifier = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_$]{0,62}$")]


class Table(Strict, frozen=True, kw_only=True):
    """A table whose rows are records. Its columns are the fields."""

    table: Identifier
    schema: Identifier = "public"
    key: Identifier = "id"
    generated_key: bool = False  # the database generates keys; otherwise the key of a new row is the record id
    reference: Identifier | None = None  # the column of the client reference. None: the key, unless it is generated
    version: Identifier | None = None  # an integer that every write of the table must increment
    updated: Identifier | None = None  # a time or number that every write of the table must set
    deleted: Identifier | None = None  # true, or a time: the row is deleted. None: deletions remove rows
    overlap_s: Annotated[float, Meta(ge=0)] = 300.0
    transaction_id: Identifier | None = None  # an xid8 of the writing transaction: gives an exact cursor


class Postgres(Common, frozen=True, kw_only=True, tag="postgres", tag_field="kind"):
    """A PostgreSQL database."""

    url_file: Name  # the file with the URL, which has the password
    tables: Annotated[dict[Name, Table], Meta(min_length=1)]


class Plugin(Common, frozen=True, kw_only=True):
    """An endpoint whose kind is an entry point."""

    kind: Name
    options: dict[str, Any] = {}
    secret_files: dict[Name, Name] = {}


Definition = HttpJson | Grpc | Postgres | Plugin
BUILT_IN: dict[str, Any] = {
    "http_json": HttpJson,
    "grpc": Grpc,
    "postgres": Postgres,
}
