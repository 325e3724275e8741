"""The three-way merge of functions/sync.sql in plain Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ABSENT = object()


@dataclass
class Merged:
    value: Any
    base: Any
    conflicts: list[tuple[str, ...]] = field(default_factory=list)
    overruled: list[tuple[str, ...]] = field(default_factory=list)


def same(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal, as jsonb compares them."""
    if isinstance(one, bool) or isinstance(other, bool) or one is ABSENT or other is ABSENT:
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return (type(one) in (int, float) and type(other) in (int, float) and one == other) or (
        type(one) is type(other) and one == other
    )


def policy(at: tuple[str, ...], policies: dict[str, Any]) -> str:
    chosen, length, below = policies.get("default", "HOLD"), -1, set()
    for rule in policies.get("rules", []):
        path = tuple(rule["path"])
        if any(a != b and (a != "*" or rule.get("exact")) for a, b in zip(path, at, strict=False)):
            continue
        if len(path) > len(at):
            below.add(rule["policy"])
        elif len(path) > length:
            chosen, length = rule["policy"], len(path)
    return "HOLD" if below - {chosen} else chosen


def merge(base: Any, mine: Any, theirs: Any, policies: dict[str, Any], at: tuple[str, ...] = ()) -> Merged:
    if same(mine, theirs):
        return Merged(mine, theirs)
    if same(theirs, base):
        return Merged(mine, base)
    if same(mine, base):
        return Merged(theirs, theirs)
    if isinstance(mine, dict) and isinstance(theirs, dict) and (base is ABSENT or isinstance(base, dict)):
        known = {} if base is ABSENT else base
        result = Merged({}, {})
        for name in sorted({*known, *mine, *theirs}, key=lambda each: each.encode()):
            child = merge(
                known.get(name, ABSENT), mine.get(name, ABSENT), theirs.get(name, ABSENT), policies, (*at, name)
            )
            if child.value is not ABSENT:
                result.value[name] = child.value
            if child.base is not ABSENT:
                result.base[name] = child.base
            result.conflicts += child.conflicts
            result.overruled += child.overruled
        return result
    match policy(at, policies):
        case "UPSTREAM_WINS":
            return Merged(theirs, theirs, [], [at])
        case "LOCAL_WINS":
            return Merged(mine, theirs)
    return Merged(mine, base, [at])
