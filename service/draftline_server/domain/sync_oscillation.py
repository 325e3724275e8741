"""Two sides that rewrite each other's value: found by the values that pulls replaced."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

TURNS = 4  # pulls that replace the same value by the same other one within WINDOW_S
WINDOW_S = 3600.0
Path = tuple[str, ...]


def oscillating_paths(changes: Iterable[tuple[str, str]]) -> list[Path]:
    """Return the paths at which at least TURNS changes replace the same value by the same other one.

    Each change is an edit and its inverse, as JSON texts in the form of the change log.
    """
    counts: Counter[tuple[Path, str, str]] = Counter()
    for edit, base in changes:
        new, old = dict(_values(json.loads(edit))), dict(_values(json.loads(base)))
        counts.update((path, old.get(path, ""), value) for path, value in new.items())
    return sorted({path for (path, _, _), count in counts.items() if count >= TURNS})


def _values(node: Mapping[str, Any], at: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield the paths that an edit sets or removes, with the JSON text of the value; empty: removed."""
    for name, value in node.get("s", {}).items():
        yield (*at, name), json.dumps(value, sort_keys=True)
    for name in node.get("r", ()):
        yield (*at, name), ""
    for name, member in node.get("m", {}).items():
        yield from _values(member, (*at, name))
