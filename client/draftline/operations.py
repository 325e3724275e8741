"""Builders of operations: `op.add("/a", 1)` is the RFC 6902 dict `{"op": "add", "path": "/a", "value": 1}`.

A path is a JSON Pointer (RFC 6901): empty for the whole content, else starting with
`/`; `pointer` builds one from keys. Operations are applied in order, all or none.

    client.patch_content("movies", "m-1", operations=[
        op.test("/Title", "Alien"),
        op.increment("/Votes", 1),
        op.union("/Tags", ["classic"]),
    ])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

# The type that the builders return and `operations` takes; members that RFC 6902 does not define are ignored.
Operation: TypeAlias = Mapping[str, Any]


def pointer(*keys: str | int) -> str:
    """Return the JSON Pointer (RFC 6901) made of keys and indexes.

        print(op.pointer("a/b", 0))  # /a~1b/0

    Keys are escaped: `~` becomes `~0`, and `/` becomes `~1`.
    """
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def add(path: str, value: Any) -> Operation:
    """Set a member, or insert before an array element (`-`: after the last)."""
    return {"op": "add", "path": path, "value": value}


def remove(path: str) -> Operation:
    """Remove the value at `path`, which must exist."""
    return {"op": "remove", "path": path}


def replace(path: str, value: Any) -> Operation:
    """Replace the value at `path`, which must exist."""
    return {"op": "replace", "path": path, "value": value}


def move(source: str, path: str) -> Operation:
    """Remove the value at `source` and add it at `path`."""
    return {"op": "move", "from": source, "path": path}


def copy(source: str, path: str) -> Operation:
    """Add a copy of the value at `source` at `path`."""
    return {"op": "copy", "from": source, "path": path}


def test(path: str, value: Any) -> Operation:
    """Fail the whole patch with `OperationTestFailedError` unless the value at `path` equals `value`."""
    return {"op": "test", "path": path, "value": value}


def increment(path: str, value: Any = 1) -> Operation:
    """Add the number `value` to the number at `path`; a missing member counts as 0."""
    return {"op": "increment", "path": path, "value": value}


def union(path: str, values: Iterable[Any]) -> Operation:
    """Append to an array those of `values` that it does not contain; a missing member counts as []."""
    return {"op": "union", "path": path, "value": list(values)}


def subtract(path: str, values: Iterable[Any]) -> Operation:
    """Remove from an array every element that equals one of `values`."""
    return {"op": "subtract", "path": path, "value": list(values)}
