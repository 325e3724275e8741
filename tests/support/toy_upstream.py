"""The toy system of record of examples/upstream.py, in this process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from draftline_server.upstreams.endpoints_file import Contents, Endpoints, parse

PATH = Path(__file__).parents[2] / "examples" / "upstream.py"


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("toy_upstream_example", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


toy = _loaded()


def grpc_endpoint(port: int, **fields: Any) -> dict[str, Any]:
    """Return the operator's definition of the toy over gRPC."""
    address = {"kind": "grpc", "address": f"127.0.0.1:{port}", "tls": None, "networks": ["127.0.0.0/8"]}
    return {**address, "tenants": ["acme"], **fields}


def endpoints(secrets: dict[str, str] | None = None, **definitions: dict[str, Any]) -> Endpoints:
    """Return the endpoints of a file with these definitions, whose secrets are in files of these names."""

    files: dict[str, bytes | str] = {name: text.encode() for name, text in (secrets or {}).items()}
    return parse(Contents(msgspec.json.encode(definitions), files, PATH.parent))


def shipped(name: str) -> dict[str, Any]:
    """Return the definition of the only endpoint in a file of examples/upstreams/."""
    (definition,) = msgspec.json.decode((PATH.parent / "upstreams" / f"{name}.json").read_bytes()).values()
    return dict(definition)


def http_endpoint(port: int, **fields: Any) -> dict[str, Any]:
    """Return the operator's definition of the toy over HTTP, as it is shipped."""
    return shipped("toy") | {"base_url": f"http://127.0.0.1:{port}", "tenants": ["acme"]} | fields
