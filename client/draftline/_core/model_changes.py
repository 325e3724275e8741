"""The changes of a model, as an edit of the content that it was read from. Keys that the model lacks are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from draftline.documents import decode, encode
from draftline.models import MergeStrategy
from draftline.operations import pointer

Json = Any


def same(one: Json, other: Json) -> bool:
    """Return whether two JSON values are equal. True is not 1, while 1 and 1.0 are the same number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def changed_content(content: Json, before: Json, after: Json, path: str = "") -> Json:
    """Return the content with the changes between two encodings of its model: `before` as read, `after` as edited.

    Raises:
        ValueError: a list was edited so that it is not known to which of its elements unknown keys belong.
    """
    if same(before, after):
        return content
    if isinstance(content, Mapping) and isinstance(before, Mapping) and isinstance(after, Mapping):
        changed = {key: value for key, value in content.items() if key in after or key not in before}
        for key, value in after.items():
            if key in before and same(before[key], value):
                continue  # a default that the content does not have stays out of it
            is_new = key not in before or key not in content
            changed[key] = value if is_new else changed_content(content[key], before[key], value, path + pointer(key))
        return changed
    if isinstance(content, list) and isinstance(before, list) and isinstance(after, list):
        return _changed_list(content, before, after, path)
    return after


def _changed_list(content: list[Json], before: list[Json], after: list[Json], path: str) -> list[Json]:
    """Return the content of an edited list, in which each element that was kept or moved has its own unknown keys.

    An element that equals one of `before` is that one, preferably at the same index. If the others are at the indexes
    of those that are left, they were edited where they are.
    """
    left = dict(enumerate(zip(content, before, strict=False)))
    found: dict[int, Json] = {}
    for index, value in enumerate(after):
        if index in left and same(left[index][1], value):
            found[index] = left.pop(index)[0]
    for index, value in enumerate(after):
        if index not in found:
            origin = next((each for each, (_, encoded) in left.items() if same(encoded, value)), None)
            if origin is not None:
                found[index] = left.pop(origin)[0]
    changed = [index for index in range(len(after)) if index not in found]
    may_lose = changed and any(not same(raw, encoded) for raw, encoded in left.values())
    if len(before) == len(after) and changed == sorted(left):
        for index in changed:
            found[index] = changed_content(*left[index], after[index], f"{path}/{index}")
    elif may_lose or _has_twins(left, content, before):
        raise ValueError(
            f"{path}: elements were edited while others were added, removed or moved, so it is not known to which of "
            "them the keys belong that the model lacks; patch in two steps, or by operations"
        )
    return [found.get(index, value) for index, value in enumerate(after)]


def _has_twins(left: Mapping[int, Any], content: list[Json], before: list[Json]) -> bool:
    """Return whether an element that is left equals one that was kept, for the model but not in the content."""
    kept = [index for index in range(min(len(content), len(before))) if index not in left]
    return any(
        same(encoded, before[index]) and not same(raw, content[index])
        for raw, encoded in left.values()
        for index in kept
    )


def unknown_keys(content: Json, encoded: Json, path: str = "") -> list[str]:
    """Return JSON Pointers to the keys of the content that its model lacks."""
    if isinstance(content, Mapping) and isinstance(encoded, Mapping):
        found = []
        for key, value in content.items():
            below = path + pointer(key)
            found += unknown_keys(value, encoded[key], below) if key in encoded else [below]
        return found
    if isinstance(content, list) and isinstance(encoded, list):
        rows = enumerate(zip(content, encoded, strict=False))
        return [each for index, row in rows for each in unknown_keys(*row, f"{path}/{index}")]
    return []


def edit_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a patch that makes one content into the other, and touches only what differs."""
    if not _removes(before, after):
        return {"delta": _delta(before, after, removed=False), "strategy": MergeStrategy.DEEP}
    delta = _delta(before, after, removed=True)
    if not _sets_null(before, after):
        return {"delta": delta, "strategy": MergeStrategy.MERGE_PATCH}
    return {"operations": list(_operations(before, after, ""))}


def _removes(before: Json, after: Json) -> bool:
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return False
    return any(key not in after or _removes(value, after[key]) for key, value in before.items())


def _sets_null(before: Json, after: Json) -> bool:
    """Return whether a changed value is null, or an object with a null member, which a merge patch cannot write."""
    if same(before, after):
        return False
    if after is None:
        return True
    if not isinstance(after, Mapping):
        return False
    old = before if isinstance(before, Mapping) else {}
    return any(_sets_null(old.get(key, ...), value) for key, value in after.items())


def _delta(before: Mapping[str, Any], after: Mapping[str, Any], *, removed: bool) -> dict[str, Any]:
    delta: dict[str, Any] = {key: None for key in before if key not in after} if removed else {}
    for key, value in after.items():
        if key in before and same(before[key], value):
            continue
        old = before.get(key)
        is_object = isinstance(old, Mapping) and isinstance(value, Mapping)
        delta[key] = _delta(old, value, removed=removed) if is_object else value  # type: ignore[arg-type]
    return delta


def _operations(before: Mapping[str, Any], after: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    steps = [{"op": "remove", "path": path + pointer(key)} for key in before if key not in after]
    for key, value in after.items():
        at, old = path + pointer(key), before.get(key)
        if key in before and same(old, value):
            continue
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            steps += _operations(old, value, at)
        else:
            steps.append({"op": "add", "path": at, "value": value})
    return steps


def copied(value: Json) -> Json:
    """Return a copy of a JSON value, whose objects and lists can be edited apart from its own."""
    if isinstance(value, Mapping):
        return {key: copied(each) for key, each in value.items()}
    return list(map(copied, value)) if isinstance(value, list) else value


def plain(value: object) -> Json:
    """Return a value as it is decoded again: dates, UUIDs and enums become texts and numbers."""
    return decode(encode(value))
