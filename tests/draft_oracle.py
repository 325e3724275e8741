"""The edits of drafts in plain Python: migrations/sql/0002_drafts.sql is held equal to it.

An edit is {"v": value}, or a node {"s": {key: value}, "r": [key], "m": {key: node}} without its empty members. Where
SQL has NULL for a value that is not there, this has MISSING.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from draftline_server.domain.content import Limits, equal
from draftline_server.domain.edits import MISSING, Operation, Path, apply_operations, format_pointer

Edit = dict[str, Any]


def node(sets: dict[str, Any], removals: list[str], merges: dict[str, Any]) -> Edit:
    return {name: part for name, part in (("s", sets), ("r", removals), ("m", merges)) if part}


def parts(edit: Edit) -> tuple[dict[str, Any], list[str], dict[str, Any]]:
    return edit.get("s", {}), edit.get("r", []), edit.get("m", {})


def same(one: Any, other: Any) -> bool:
    return one is other if MISSING in (one, other) else equal(one, other)


def at(value: Any, key: str) -> Any:
    return value.get(key, MISSING) if isinstance(value, dict) else MISSING


def apply(edit: Edit, content: Any) -> Any:
    if "v" in edit:
        return edit["v"]
    sets, removals, merges = parts(edit)
    start = content if isinstance(content, dict) else {}
    kept = {key: value for key, value in start.items() if key not in removals}
    return kept | {key: apply(child, at(start, key)) for key, child in merges.items()} | sets


def compose(a: Edit, b: Edit) -> Edit:
    if "v" in b or not a:
        return b
    if "v" in a:
        return {"v": apply(b, a["v"])}
    sets, removals, merges = ({**a.get("s", {})}, [*a.get("r", [])], {**a.get("m", {})})
    b_sets, b_removals, b_merges = parts(b)
    for key, child in b_merges.items():
        if key in sets:
            sets[key] = apply(child, sets[key])
        elif key in removals:
            removals.remove(key)
            sets[key] = apply(child, MISSING)
        else:
            merges[key] = compose(merges.get(key, {}), child)
    touched = {*b_sets, *b_removals}
    return node(
        {key: value for key, value in sets.items() if key not in touched} | b_sets,
        [key for key in removals if key not in touched] + b_removals,
        {key: child for key, child in merges.items() if key not in touched},
    )


def inverse(edit: Edit, content: Any) -> Edit:
    """The edit that puts back, at the paths of an edit, what a content holds there."""
    if "v" in edit:
        return {"v": content}
    sets, removals, merges = parts(edit)
    touched = [*sets, *removals]
    return node(
        {key: at(content, key) for key in touched if at(content, key) is not MISSING},
        [key for key in touched if at(content, key) is MISSING],
        {key: inverse(child, at(content, key)) for key, child in merges.items()},
    )


def restore(base: Edit, content: Any) -> Any:
    """A content with a base put back. A base is made of an edit that merges into objects, or into nothing."""
    if not base:
        return content
    if "v" in base:
        return base["v"]
    sets, removals, merges = parts(base)
    start = content if isinstance(content, dict) else {}
    restored = {key: value for key, value in start.items() if key not in removals} | sets
    for key, child in merges.items():
        inner = restore(child, restored.get(key, MISSING))
        if inner is not MISSING:
            restored[key] = inner
    return MISSING if content is MISSING and not restored else restored


def prune(edit: Edit, content: Any) -> Edit:
    """An edit without what it does not change of a content."""
    if "v" in edit:
        return {} if equal(edit["v"], content) else edit
    sets, removals, merges = parts(edit)
    kept = {key: value for key, value in sets.items() if not same(at(content, key), value)}
    merged: Edit = {}
    for key, child in merges.items():
        inner = at(content, key)
        if inner is not MISSING and not isinstance(inner, dict):
            kept[key] = apply(child, MISSING)
            continue
        pruned = prune(child, {} if inner is MISSING else inner)
        if pruned:
            merged[key] = pruned
        elif inner is MISSING:
            kept[key] = {}
    return node(kept, [key for key in removals if at(content, key) is not MISSING], merged)


def leaves(edit: Edit, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every path that a node sets or removes, with its value."""
    sets, removals, merges = parts(edit)
    for key, value in sets.items():
        yield (*path, key), value
    for key in removals:
        yield (*path, key), MISSING
    for key, child in merges.items():
        yield from leaves(child, (*path, key))


def differ(base: Any, mine: Any, theirs: Any) -> bool:
    return not (same(base, mine) or same(base, theirs) or same(mine, theirs))


def conflicts(edit: Edit, base: Edit, content: Any) -> list[tuple[str, Any, Any, Any]]:
    """Path, base, mine and theirs of each conflict of a change with a live record."""
    if "v" in edit:
        three = (base["v"], edit["v"], content)
        return [("", *three)] if differ(*three) else []
    return [(format_pointer(path), *rest) for path, *rest in _conflicts(edit, base, content, ())]


def _conflicts(edit: Edit, base: Edit, content: Any, path: Path) -> Iterator[tuple[Path, Any, Any, Any]]:
    sets, removals, merges = parts(edit)
    for key in [*sets, *removals]:
        three = at(base.get("s"), key), at(sets, key), at(content, key)
        if differ(*three):
            yield ((*path, key), *three)
    for key, child in merges.items():
        theirs = at(content, key)
        if theirs is MISSING or isinstance(theirs, dict):
            yield from _conflicts(child, base["m"][key], theirs, (*path, key))
        else:
            yield ((*path, key), apply(base["m"][key], MISSING), apply(child, MISSING), theirs)


def settle(edit: Edit, base: Edit, content: Any) -> Any:
    """The content that is left when the conflicts are settled in its favour."""
    if "v" in edit:
        return content if differ(base["v"], edit["v"], content) else edit["v"]
    return apply(_settled(edit, base, content), content)


def _settled(edit: Edit, base: Edit, content: Any) -> Edit:
    sets, removals, merges = parts(edit)
    lost = {
        key for key in [*sets, *removals] if differ(at(base.get("s"), key), at(sets, key), at(content, key))
    }  # fmt: skip
    merged: Edit = {}
    for key, child in merges.items():
        theirs = at(content, key)
        settled = _settled(child, base["m"][key], theirs)
        # Where the content has nothing, only a value that is put there makes an object.
        if isinstance(theirs, dict) or (theirs is MISSING and settled.keys() & {"s", "m"}):
            merged[key] = settled
    return node(
        {key: value for key, value in sets.items() if key not in lost},
        [key for key in removals if key not in lost],
        merged,
    )


def edit_at(path: Path, value: Any) -> Edit:
    if not path:
        return {"v": value}
    if len(path) > 1:
        return {"m": {path[0]: edit_at(path[1:], value)}}
    return {"r": [path[0]]} if value is MISSING else {"s": {path[0]: value}}


def edit_of_operations(content: Any, operations: Sequence[Operation], limits: Limits) -> Edit:
    """What operations make, of a content, of the paths that they touch; inside an array, of the whole array."""
    outcome = apply_operations(content, operations, limits)
    edit: Edit = {}
    touched = [step.path for step in operations] + [step.source for step in operations if step.op == "move"]
    for path in touched:
        before, after, depth = content, outcome, 0
        while depth < len(path) and isinstance(before, dict) and isinstance(after, dict):
            before, after, depth = at(before, path[depth]), at(after, path[depth]), depth + 1
        edit = compose(edit, edit_at(path[:depth], after))
    return edit
