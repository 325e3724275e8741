"""The toy system of record of the examples, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from draftline_server.demo.toy_system import toy_module
from draftline_server.upstreams.endpoints_file import Contents, Endpoints, parse

EXAMPLES = Path(__file__).parents[2] / "examples"

toy = toy_module()


def grpc_endpoint(port: int, **fields: Any) -> dict[str, Any]:
    """Return the operator's definition of the toy over gRPC."""
    address = {"kind": "grpc", "address": f"127.0.0.1:{port}", "tls": None, "networks": ["127.0.0.0/8"]}
    return {**address, "tenants": ["acme"], **fields}


def endpoints(secrets: dict[str, str] | None = None, **definitions: dict[str, Any]) -> Endpoints:
    """Return the endpoints of a file with these definitions, whose secrets are in files of these names."""

    files: dict[str, bytes | str] = {name: text.encode() for name, text in (secrets or {}).items()}
    return parse(Contents(msgspec.json.encode(definitions), files, EXAMPLES))


def shipped(name: str) -> dict[str, Any]:
    """Return the definition of the only endpoint in a file of examples/upstreams/."""
    (definition,) = msgspec.json.decode((EXAMPLES / "upstreams" / f"{name}.json").read_bytes()).values()
    return dict(definition)


def http_endpoint(port: int, **fields: Any) -> dict[str, Any]:
    """Return the operator's definition of the toy over HTTP, as it is shipped."""
    return shipped("toy") | {"base_url": f"http://127.0.0.1:{port}", "tenants": ["acme"]} | fields
