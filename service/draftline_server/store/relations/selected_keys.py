"""The keys of related contents that the database returns, if a request selects some of them.

The database then sends less, and the service need not parse whole contents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ...domain.relations import Direction
from .steps import Step

MAX_KEYS = 8  # each is looked up by itself: with more, whole contents are about as fast

_encode = msgspec.json.encode


def keys_by_collection(fields: Sequence[str], steps: Mapping[str, Step]) -> dict[str, Sequence[str]]:
    """Return the keys to read of the related records of each collection. Other collections have whole contents.

    They are the keys in `fields`, and those of the relations that lead on from a collection. A record may be reached by
    several relations, so the keys of a collection are the same for all of them.
    """
    if not fields:
        return {}
    found: dict[str, dict[str, None]] = {}
    for step in _all(steps):
        keys = found.setdefault(step.relation.target, dict.fromkeys(storable(fields)))
        keys |= {
            each.relation.path[0]: None for each in step.steps.values() if each.relation.direction is Direction.FIELD
        }
    return {collection: list(keys) for collection, keys in found.items() if len(keys) <= MAX_KEYS}


def storable(keys: Sequence[str]) -> Sequence[str]:
    """Return the keys that a stored object may have."""
    return [each for each in keys if "\0" not in each]


def key_values(keys: Sequence[str]) -> dict[str, object]:
    """Return the parameters of a statement that selects keys (branches.selected_text)."""
    values: dict[str, object] = {}
    for index, key in enumerate(keys):
        values |= {f"key_{index}": key, f"prefix_{index}": f"{_encode(key).decode()}:"}
    return values


def _all(steps: Mapping[str, Step]) -> Iterator[Step]:
    for step in steps.values():
        yield step
        yield from _all(step.steps)
