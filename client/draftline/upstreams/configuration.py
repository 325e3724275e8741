"""The configuration that a connector receives."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from .protocol import Upstream
from .records import Json


class Direction(Enum):
    """The direction in which a field is synchronized."""

    BOTH = "both"
    PUSH = "push"  # Draftline writes it, and ignores the value of the system
    PULL = "pull"  # Draftline reads it, and never writes it


@dataclass(frozen=True, kw_only=True)
class FieldMapping:
    """A field of the collection and the field of the system that holds it.

    Attributes:
        local: The JSON Pointer in the content of the record.
        remote: The JSON Pointer in the representation of the system.
        direction: Who writes it.
        type: The conversion of the value. Empty: none. `date`: an ISO 8601 date here, a text of `format` in the system.
            `number`: a number here, a decimal text in the system. `enum`: by `values`.
        format: Of a `date`: the strftime pattern of the system, such as `%d.%m.%Y`.
        values: Of an `enum`: the values of the system by those of the collection.
    """

    local: str
    remote: str
    direction: Direction = Direction.BOTH
    type: str = ""
    format: str = ""
    values: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CollectionBinding:
    """A collection, and what it is in the system.

    Attributes:
        collection: The name in Draftline.
        resource: The name in the system, as the endpoint defines it. Empty: the name of the collection.
        fields: The mapped fields. Empty: all fields, under the same names, in both directions.
    """

    collection: str
    resource: str = ""
    fields: tuple[FieldMapping, ...] = ()


class Secret:
    """A secret that is not shown by `repr`, `str`, formatting or pickling. `reveal` returns it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret. Never put it into an error or a log."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a secret cannot be pickled or copied")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A system that the operator's file defines, for a connector of an entry point.

    Attributes:
        name: Its name in the file.
        kind: The name of the entry point.
        options: The member `options` of the definition, as the connector defines it.
        secrets: The texts of the files in the member `secret_files`, by name.
    """

    name: str
    kind: str
    options: Mapping[str, Json] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)


class Connector(Protocol):
    """Opens connections to one kind of system. An entry point of the group `draftline.upstreams` names it."""

    def __call__(self, endpoint: Endpoint, tenant_id: str, bindings: Sequence[CollectionBinding]) -> Upstream:
        """Return the connection of a tenant, without any I/O. Raise ValueError, with the option, if one is invalid."""
        ...
