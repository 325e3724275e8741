"""Builds operations: `op.add("/a", 1)` is the RFC 6902 dict `{"op": "add", "path": "/a", "value": 1}`.

A path is a JSON Pointer (RFC 6901): empty for the whole content, else starting with
`/`; `pointer` builds one from keys. Operations apply in order, all or none.

    client.patch_content("movies", "m-1", operations=[
        op.test("/Title", "Alien"),
        op.increment("/Votes", 1),
        op.union("/Tags", ["classic"]),
    ])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

# What the builders return and what `operations` takes; members beyond RFC 6902 are ignored.
Operation: TypeAlias = Mapping[str, Any]


def pointer(*keys: str | int) -> str:
    """The JSON Pointer to a place, from its keys and indexes.

    print(op.pointer("a/b", 0))  # /a~1b/0
    """
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def add(path: str, value: Any) -> Operation:
    """Sets a member, or inserts before an element (`-`: after the last)."""
    return {"op": "add", "path": path, "value": value}


def remove(path: str) -> Operation:
    """Removes what must be there."""
    return {"op": "remove", "path": path}


def replace(path: str, value: Any) -> Operation:
    """Replaces what must be there."""
    return {"op": "replace", "path": path, "value": value}


def move(source: str, path: str) -> Operation:
    """Removes what is at `source` and adds it at `path`."""
    return {"op": "move", "from": source, "path": path}


def copy(source: str, path: str) -> Operation:
    """Adds what is at `source` at `path` too."""
    return {"op": "copy", "from": source, "path": path}


def test(path: str, value: Any) -> Operation:
    """Fails the whole patch, with `OperationTestFailedError`, unless the value there equals `value`."""
    return {"op": "test", "path": path, "value": value}


def increment(path: str, value: Any = 1) -> Operation:
    """Adds the number `value` to a number; a missing member counts as 0."""
    return {"op": "increment", "path": path, "value": value}


def union(path: str, values: Iterable[Any]) -> Operation:
    """Appends to an array those of `values` that it does not hold; a missing member counts as []."""
    return {"op": "union", "path": path, "value": list(values)}


def subtract(path: str, values: Iterable[Any]) -> Operation:
    """Removes from an array every element that equals one of `values`."""
    return {"op": "subtract", "path": path, "value": list(values)}
