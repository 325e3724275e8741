"""Read the operator's file of upstreams, and the files of secrets that it names.

The file is an object of endpoints by name. Secrets are only in files of their own. No message contains a value of
the file or a secret: it names the endpoint and the field.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from draftline.upstreams import Secret

from .definitions import BUILT_IN, Common, Definition, Grpc, HttpJson, OAuth, Plugin, Postgres, Tls

MAX_SECRET_BYTES = 64 * 1024
EVERY_TENANT = "*"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Contents:
    """The bytes of the file and of the files that it names; None for one that cannot be read, with the reason."""

    text: bytes
    files: Mapping[str, bytes | str]
    folder: Path

    def __repr__(self) -> str:
        return "Contents(***)"


@dataclass(frozen=True)
class ConfiguredEndpoint:
    """An endpoint with its secrets. Two are equal if no part of them, including the secrets, has changed."""

    name: str
    definition: Definition
    secrets: Mapping[str, Secret]  # by the name of the file
    networks: tuple[Network, ...]
    folder: Path  # names of files are relative to it

    def allows(self, tenant_id: str) -> bool:
        """Return whether a tenant may use the endpoint."""
        return EVERY_TENANT in self.definition.tenants or tenant_id in self.definition.tenants


Endpoints = Mapping[str, ConfiguredEndpoint]


def read_files(path: Path) -> Contents:
    """Return the contents of the file and of the files that it names, relative to its folder. Blocks.

    Raises OSError if the file itself cannot be read.
    """
    text = path.read_bytes()
    files: dict[str, bytes | str] = {}
    try:
        named = {file for definition in _definitions(text).values() for _, file in _named_files(definition)}
    except ValueError:  # `parse` reports it
        named = set()
    for name in sorted(named):
        try:
            files[name] = (path.parent / name).read_bytes()
        except OSError as error:
            files[name] = error.strerror or "cannot be read"
    return Contents(text, files, path.parent)


def parse(contents: Contents) -> Endpoints:
    """Return the endpoints of a file. Raise ValueError with the endpoint and the field if it is invalid."""
    endpoints = {}
    for name, definition in _definitions(contents.text).items():
        secrets = dict(_secrets(name, definition, contents.files))
        endpoints[name] = ConfiguredEndpoint(name, definition, secrets, _networks(name, definition), contents.folder)
        _check(name, definition)
    return endpoints


def _definitions(text: bytes) -> dict[str, Definition]:
    try:
        members = json.loads(text, object_pairs_hook=_unique)
    except (UnicodeDecodeError, RecursionError):
        raise ValueError("is not UTF-8 text, or is nested too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not valid JSON: {error.msg} in line {error.lineno}") from None
    if not isinstance(members, dict):
        raise ValueError("must be an object of endpoints by name")  # noqa: TRY004  as for any other problem
    return {name: _definition(name, member) for name, member in members.items()}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the member {doubled!r} appears twice in an object")
    return members


def _definition(name: str, member: object) -> Definition:
    kind = member.get("kind") if isinstance(member, dict) else None
    if not isinstance(kind, str):
        raise _invalid(name, "kind", "is missing; write http_json, grpc, postgres or the name of an entry point")
    try:
        definition: Definition = msgspec.convert(member, BUILT_IN.get(kind, Plugin))
    except msgspec.ValidationError as error:
        raise ValueError(f"endpoint {name!r}: {_problem(error)}") from None
    return definition


def _problem(error: msgspec.ValidationError) -> str:
    """Return the message of an invalid member with the path of the field first, and without its value."""
    problem, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    if problem.startswith("Invalid value "):
        problem = "has a value that is not allowed"
    return f"{field}: {problem}" if field else problem


def _named_files(definition: Definition) -> Iterator[tuple[str, str]]:
    """Yield the field and the name of each file that a definition names."""
    if isinstance(definition, Plugin):
        for name, file in definition.secret_files.items():
            yield f"secret_files.{name}", file
    elif isinstance(definition, Postgres):
        yield "url_file", definition.url_file
    else:
        if definition.auth is not None:
            yield "auth.secret_file", definition.auth.secret_file
        if definition.tls is not None:
            for field in ("ca_file", "certificate_file", "key_file"):
                if file := getattr(definition.tls, field):
                    yield f"tls.{field}", file


def _secrets(name: str, definition: Definition, files: Mapping[str, bytes | str]) -> Iterator[tuple[str, Secret]]:
    for field, file in _named_files(definition):
        content = files[file]
        if isinstance(content, str):
            raise _invalid(name, field, f"the file cannot be read: {content}")
        if not content.strip() or len(content) > MAX_SECRET_BYTES:
            raise _invalid(name, field, f"the file must have 1 to {MAX_SECRET_BYTES:,} bytes")
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise _invalid(name, field, "the file is not UTF-8 text") from None
        yield file, Secret(text.strip())


def _networks(name: str, definition: Common) -> tuple[Network, ...]:
    networks = []
    for index, text in enumerate(definition.networks):
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError:
            raise _invalid(name, f"networks[{index}]", "is not a network such as 10.1.0.0/16") from None
    return tuple(networks)


def _check(name: str, definition: Definition) -> None:
    if isinstance(definition, HttpJson):
        _check_url(name, "base_url", definition.base_url, definition)
        if isinstance(definition.auth, OAuth):
            _check_url(name, "auth.token_url", definition.auth.token_url, definition)
        for resource, spec in definition.resources.items():
            if spec.changes is None and spec.list is None and spec.read is None:
                raise _invalid(name, f"resources.{resource}", "needs one of list, changes and read")
    elif isinstance(definition, Grpc):
        host, _, port = definition.address.rpartition(":")
        if not host or not port.isdecimal():
            raise _invalid(name, "address", "must be host:port")
        if definition.tls is None and not definition.networks:
            raise _invalid(name, "tls", "can be null only if networks are given")
    if isinstance(definition, HttpJson | Grpc) and definition.tls is not None:
        _check_tls(name, definition.tls)


def _check_url(name: str, field: str, url: str, definition: Common) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise _invalid(name, field, "is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _invalid(name, field, "must be an https URL")
    if parts.username or parts.password or parts.fragment:
        raise _invalid(name, field, "must have no user, password or fragment; secrets belong in secret_file")
    if parts.scheme == "http" and not definition.networks:
        raise _invalid(name, field, "must be https unless networks are given")


def _check_tls(name: str, tls: Tls) -> None:
    if bool(tls.certificate_file) != bool(tls.key_file):
        raise _invalid(name, "tls", "needs both certificate_file and key_file, or none")


def _invalid(name: str, field: str, problem: str) -> ValueError:
    return ValueError(f"endpoint {name!r}: {field}: {problem}")
