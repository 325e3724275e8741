"""The operator's file of upstreams: what it may contain, and what its errors say."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from draftline.upstreams import CollectionBinding
from draftline_server.auth.hot_reload import ReloadingValue
from draftline_server.upstreams.definitions import HttpJson
from draftline_server.upstreams.endpoints_file import Endpoints, parse, read_files
from draftline_server.upstreams.registry import Upstreams
from support.log_capture import logged
from support.polling import eventually

SHIPPED = Path(__file__).parents[2] / "examples" / "upstreams"
SECRET = "s3cret-of-pems"
HTTP: dict[str, Any] = {
    "kind": "http_json",
    "base_url": "https://pems.example.com/v2",
    "auth": {"kind": "bearer", "secret_file": "pems.key"},
    "tenants": ["acme"],
    "rate_per_s": 20,
    "resources": {"parts": {"list": {"url": "parts"}}},
}


def read(folder: Path, endpoints: object) -> Endpoints:
    """Return the endpoints of a file whose secrets are beside it."""
    (folder / "pems.key").write_text(f"{SECRET}\n")
    path = folder / "upstreams.json"
    path.write_text(endpoints if isinstance(endpoints, str) else json.dumps(endpoints))
    return parse(read_files(path))


def test_endpoint_has_its_secret_and_serves_its_tenants_only(tmp_path: Path) -> None:
    pems = read(tmp_path, {"pems": {**HTTP, "networks": ["10.1.0.0/16", "fd00::/8"]}})["pems"]
    assert pems.secrets["pems.key"].reveal() == SECRET
    assert [pems.allows("acme"), pems.allows("umbrella")] == [True, False]
    assert [str(each) for each in pems.networks] == ["10.1.0.0/16", "fd00::/8"]
    assert read(tmp_path, {"pems": {**HTTP, "tenants": ["*"]}})["pems"].allows("umbrella")


def test_endpoint_changes_with_its_secret(tmp_path: Path) -> None:
    first, same = read(tmp_path, {"pems": HTTP}), read(tmp_path, {"pems": HTTP})
    (tmp_path / "pems.key").write_text("another secret")
    changed = parse(read_files(tmp_path / "upstreams.json"))
    assert (first == same, first == changed) == (True, False)


def auth(**fields: Any) -> dict[str, Any]:
    return {**HTTP, "auth": fields}


@pytest.mark.parametrize(
    ("endpoints", "problem"),
    [
        ("{", "is not valid JSON: "),
        ("[]", "must be an object of endpoints by name"),
        ('{"a": {}, "a": {}}', "the member 'a' appears twice in an object"),
        ({"pems": {}}, "endpoint 'pems': kind: is missing; write http_json, grpc, postgres or the name of an entry"),
        ({"pems": {**HTTP, "bse_url": SECRET}}, "endpoint 'pems': Object contains unknown field `bse_url`"),
        ({"pems": {**HTTP, "tenants": []}}, "endpoint 'pems': tenants: Expected `array` of length >= 1"),
        ({"pems": {**HTTP, "rate_per_s": -1}}, "endpoint 'pems': rate_per_s: Expected `float` > 0.0"),
        ({"pems": {**HTTP, "networks": ["10.1/33"]}}, "endpoint 'pems': networks[0]: is not a network such as"),
        ({"pems": {**HTTP, "base_url": "http://pems"}}, "endpoint 'pems': base_url: must be https unless networks"),
        (
            {"pems": {**HTTP, "base_url": f"https://u:{SECRET}@p"}},
            "endpoint 'pems': base_url: must have no user, passw",
        ),
        ({"pems": {**HTTP, "base_url": "file:///etc/passwd"}}, "endpoint 'pems': base_url: must be an https URL"),
        (
            {"pems": {**HTTP, "resources": {"a": {"id": "x"}}}},
            "endpoint 'pems': resources[...].id: Expected `str` match",
        ),
        (
            {"pems": {**HTTP, "resources": {"a": {}}}},
            "endpoint 'pems': resources.a: needs one of list, changes and read",
        ),
        ({"pems": auth(kind="bearer", secret=SECRET)}, "endpoint 'pems': auth: Object contains unknown field `secret`"),
        ({"pems": auth(kind=SECRET)}, "endpoint 'pems': auth.kind: has a value that is not allowed"),
        (
            {"pems": auth(kind="bearer", secret_file="none")},
            "endpoint 'pems': auth.secret_file: the file cannot be read",
        ),
        ({"pems": {**HTTP, "tls": {"key_file": "pems.key"}}}, "endpoint 'pems': tls: needs both certificate_file and"),
        ({"g": {"kind": "grpc", "tenants": ["a"], "address": "host"}}, "endpoint 'g': address: must be host:port"),
        (
            {"g": {"kind": "grpc", "tenants": ["a"], "address": "h:1", "tls": None}},
            "endpoint 'g': tls: can be null only if networks are given",
        ),
        (
            {"p": {"kind": "postgres", "tenants": ["a"], "tables": {"a": {"table": "a"}}}},
            "endpoint 'p': Object missing required field `url_f",
        ),
        (
            {"x": {"kind": "mine", "tenants": ["a"], "secret_files": {"k": "no"}}},
            "endpoint 'x': secret_files.k: the file",
        ),
    ],
)
def test_error_names_the_endpoint_and_the_field_and_no_value(tmp_path: Path, endpoints: object, problem: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  the message is compared
        read(tmp_path, endpoints)
    assert str(raised.value).startswith(problem)
    assert SECRET not in f"{raised.value!r} {raised.value.__cause__!r}"


def test_empty_and_binary_secrets_are_rejected(tmp_path: Path) -> None:
    for content in (b" \n", b"\xff\xfe"):
        (tmp_path / "empty.key").write_bytes(content)
        with pytest.raises(ValueError, match=r"endpoint 'pems': auth\.secret_file: the file"):
            read(tmp_path, {"pems": auth(kind="bearer", secret_file="empty.key")})


def test_no_secret_is_shown_by_repr_format_or_pickle(tmp_path: Path) -> None:
    endpoints = read(tmp_path, {"pems": HTTP})
    contents = read_files(tmp_path / "upstreams.json")
    assert SECRET not in f"{endpoints!r} {endpoints['pems']} {endpoints['pems'].secrets['pems.key']} {contents!r}"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(endpoints["pems"].secrets["pems.key"])


async def test_file_and_secrets_are_read_again_and_an_invalid_file_leaves_the_last_one_in_use(tmp_path: Path) -> None:
    read(tmp_path, {"pems": HTTP})
    path = tmp_path / "upstreams.json"
    source = ReloadingValue("the upstreams file", partial(asyncio.to_thread, read_files, path), parse, 0.01)
    await source.start()
    upstreams = Upstreams(lambda: source.value or {})
    first = upstreams.find("pems", "acme")
    (tmp_path / "pems.key").write_text("another secret")
    await eventually(lambda: upstreams.find("pems", "acme") != first)
    with logged() as events:
        path.write_text("{")
        await eventually(lambda: events)
        assert upstreams.find("pems", "acme").secrets["pems.key"].reveal() == "another secret"
    await source.close()
    assert "another secret" not in str(events)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_shipped_file_is_valid_and_its_resources_can_be_bound(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    for name in re.findall(r'"secret_file": "(.*?)"', text):
        (tmp_path / name).write_text("a-secret")
    (tmp_path / path.name).write_text(text)
    endpoints = parse(read_files(tmp_path / path.name))
    for name, endpoint in endpoints.items():
        assert isinstance(endpoint.definition, HttpJson)
        bindings = [CollectionBinding(collection=each) for each in endpoint.definition.resources]
        assert bindings
        Upstreams(lambda: endpoints).open(name, endpoint.definition.tenants[0], bindings)
