"""The edits of drafts in plain Python: migrations/functions/ is held equal to it.

An edit is {"v": value}, or a node {"s": {key: value}, "r": [key], "m": {key: node}, "t": {key: [step]}, "o": True}
without its empty members; transform_oracle.py describes the steps. Where SQL has NULL for a missing value, this has
MISSING.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from draftline_server.domain.content import Limits, equal
from draftline_server.domain.edits import MISSING, Operation, Path, apply_operations, format_pointer, resolve

from support.transform_oracle import Steps, chain, commute, makes, prune_steps, steps_of, transform

Edit = dict[str, Any]


def node(
    sets: dict[str, Any], removals: list[str], merges: dict[str, Any], steps: dict[str, Steps] | None = None
) -> Edit:
    members = (("s", sets), ("r", removals), ("m", merges), ("t", steps))
    return {name: part for name, part in members if part}


def parts(edit: Edit) -> tuple[dict[str, Any], list[str], dict[str, Any], dict[str, Steps]]:
    return edit.get("s", {}), edit.get("r", []), edit.get("m", {}), edit.get("t", {})


def same(one: Any, other: Any) -> bool:
    return one is other if MISSING in (one, other) else equal(one, other)


def at(value: Any, key: str) -> Any:
    return value.get(key, MISSING) if isinstance(value, dict) else MISSING


def puts(edit: Edit) -> bool:
    """Return whether a node creates an object where there is none."""
    sets, _, merges, steps = parts(edit)
    return bool(sets) or "o" in edit or any(map(puts, merges.values())) or any(map(makes, steps.values()))


def apply(edit: Edit, content: Any) -> Any:
    if "v" in edit:
        return edit["v"]
    sets, removals, merges, steps = parts(edit)
    if not isinstance(content, dict):
        if not puts(edit):
            return content
        content = {}
    kept = {key: value for key, value in content.items() if key not in removals}
    changed = {key: apply(child, at(content, key)) for key, child in merges.items()}
    changed |= {key: transform(some, at(content, key)) for key, some in steps.items()}
    return kept | {key: value for key, value in changed.items() if value is not MISSING} | sets


def compose(a: Edit, b: Edit) -> Edit:
    if "v" in b or not a:
        return b
    if "v" in a:
        return {"v": apply(b, a["v"])}
    sets, removals, merges, steps = ({**a.get("s", {})}, [*a.get("r", [])], {**a.get("m", {})}, {**a.get("t", {})})
    b_sets, b_removals, b_merges, b_steps = parts(b)

    def put(key: str, value: Any) -> None:
        for member in (merges, steps):
            member.pop(key, None)
        if value is not MISSING:
            sets[key] = value
            if key in removals:
                removals.remove(key)

    for key, child in b_merges.items():
        if key in sets or key in removals:
            put(key, apply(child, sets.get(key, MISSING)))
        elif key not in steps:
            merges[key] = compose(merges.get(key, {}), child)
        elif puts(child):
            put(key, apply(child, MISSING))
    for key, some in b_steps.items():
        if key in sets or key in removals:
            put(key, transform(some, sets.get(key, MISSING)))
        elif key in merges and puts(merges[key]):
            put(key, transform(some, {}))
        elif key in steps:
            chained = chain(steps[key], some)
            if "t" in chained:
                steps[key] = chained["t"]
            else:
                put(key, chained["s"])
        else:
            merges.pop(key, None)
            steps[key] = some
    touched = {*b_sets, *b_removals}
    composed = node(
        {key: value for key, value in sets.items() if key not in touched} | b_sets,
        [key for key in removals if key not in touched] + b_removals,
        {key: child for key, child in merges.items() if key not in touched},
        {key: some for key, some in steps.items() if key not in touched},
    )
    return composed if puts(composed) or not (puts(a) or puts(b)) else composed | {"o": True}


def inverse(edit: Edit, content: Any) -> Edit:
    """Return the edit that restores the content at the paths of `edit`; "n" where the content has no value."""
    if "v" in edit:
        return {"v": content}
    sets, removals, merges, steps = parts(edit)
    touched = [*sets, *removals, *steps]
    base = node(
        {key: at(content, key) for key in touched if at(content, key) is not MISSING},
        [key for key in touched if at(content, key) is MISSING],
        {key: inverse(child, at(content, key)) for key, child in merges.items()},
    )
    return base | {"n": True} if content is MISSING else base


def restore(base: Edit, content: Any) -> Any:
    """Return the content that a base was made from, completed by another content."""
    if not base:
        return content
    return base["v"] if "v" in base else _restored(base, content)


def _restored(base: Edit, content: Any) -> Any:
    sets, removals, merges, _ = parts(base)
    start = content if isinstance(content, dict) else {}
    restored = {key: value for key, value in start.items() if key not in removals} | sets
    for key, child in merges.items():
        inner = _restored(child, restored.get(key, MISSING))
        restored.pop(key, None)
        if inner is not MISSING:
            restored[key] = inner
    return MISSING if "n" in base and not restored else restored


def prune(edit: Edit, basis: Any, content: Any) -> Edit:
    """Return the edit without the parts that change neither its base nor the content."""
    if "v" in edit:
        return {} if equal(edit["v"], basis) and equal(edit["v"], content) else edit
    sets, removals, merges, steps = parts(edit)
    kept = {
        key: value for key, value in sets.items() if not (same(at(basis, key), value) and same(at(content, key), value))
    }
    gone = [key for key in removals if not at(basis, key) is at(content, key) is MISSING]
    pruned_steps = {key: prune_steps(some, at(basis, key), at(content, key)) for key, some in steps.items()}
    merged: Edit = {}
    for key, child in merges.items():
        was, now = at(basis, key), at(content, key)
        if was is not MISSING and not isinstance(was, dict):
            if puts(child):
                kept[key] = apply(child, MISSING)
            continue
        pruned = prune(child, {} if was is MISSING else was, now if isinstance(now, dict) else {})
        if pruned:
            merged[key] = pruned
        elif was is MISSING and not isinstance(now, dict) and puts(child):
            kept[key] = {}
    return node(kept, gone, merged, {key: some for key, some in pruned_steps.items() if some})


def leaves(edit: Edit, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every path that a node sets or removes, with its value."""
    sets, removals, merges, _ = parts(edit)
    for key, value in sets.items():
        yield (*path, key), value
    for key in removals:
        yield (*path, key), MISSING
    for key, child in merges.items():
        yield from leaves(child, (*path, key))


def differ(base: Any, mine: Any, theirs: Any) -> bool:
    return not (same(base, theirs) or same(mine, theirs))


def conflicts(edit: Edit, base: Edit, content: Any) -> list[tuple[str, Any, Any, Any]]:
    """Return path, base, mine and theirs of each conflict of a change with a live record."""
    if "v" in edit:
        three = (base["v"], edit["v"], content)
        return [("", *three)] if differ(*three) else []
    return [(format_pointer(path), *rest) for path, *rest in _conflicts(edit, base, content, ())]


def _leaf_values(edit: Edit, base: Edit, content: Any) -> Iterator[tuple[str, tuple[Any, Any, Any]]]:
    """Yield base, mine and theirs at each key that a node sets, removes or transforms."""
    sets, removals, _, steps = parts(edit)
    for key in [*sets, *removals, *steps]:
        theirs = at(content, key)
        mine = transform(steps[key], theirs) if key in steps else at(sets, key)
        yield key, (at(base.get("s"), key), mine, theirs)


def parent_differs(child: Edit, base: Edit, theirs: Any) -> bool:
    return puts(child) and not isinstance(theirs, dict) and not (theirs is MISSING and "n" in base)


def _conflicts(edit: Edit, base: Edit, content: Any, path: Path) -> Iterator[tuple[Path, Any, Any, Any]]:
    for key, three in _leaf_values(edit, base, content):
        if differ(*three):
            yield ((*path, key), *three)
    for key, child in parts(edit)[2].items():
        theirs = at(content, key)
        if parent_differs(child, base["m"][key], theirs):
            yield ((*path, key), _restored(base["m"][key], MISSING), apply(child, MISSING), theirs)
        elif isinstance(theirs, dict) or puts(child):
            yield from _conflicts(child, base["m"][key], theirs, (*path, key))


def settle(edit: Edit, base: Edit, content: Any) -> Any:
    """The content that is left when the conflicts are settled in its favour."""
    if "v" in edit:
        return content if differ(base["v"], edit["v"], content) else edit["v"]
    return apply(_settled(edit, base, content), content)


def _settled(edit: Edit, base: Edit, content: Any) -> Edit:
    sets, removals, merges, steps = parts(edit)
    lost = {key for key, three in _leaf_values(edit, base, content) if differ(*three)}
    return node(
        {key: value for key, value in sets.items() if key not in lost},
        [key for key in removals if key not in lost],
        {
            key: _settled(child, base["m"][key], at(content, key))
            for key, child in merges.items()
            if not parent_differs(child, base["m"][key], at(content, key))
        },
        {key: some for key, some in steps.items() if key not in lost},
    )


def edit_at(path: Path, value: Any) -> Edit:
    if not path:
        return {"v": value}
    return below(path[:-1], {"r": [path[-1]]} if value is MISSING else {"s": {path[-1]: value}})


def below(path: Path, child: Edit) -> Edit:
    for token in reversed(path):
        child = {"m": {token: child}}
    return child


def edit_to(before: Any, after: Any, path: Path) -> Edit:
    """Return the edit that copies the value at a path from one content to another; inside an array, the whole array."""
    depth = 0
    while depth < len(path) and isinstance(before, dict) and isinstance(after, dict):
        before, after, depth = at(before, path[depth]), at(after, path[depth]), depth + 1
    return edit_at(path[:depth], after)


def edit_of_operations(content: Any, operations: Sequence[Operation], limits: Limits) -> Edit:
    """Transforms as they are; of all else what operations make, of a content, of the paths that they touch."""
    edit: Edit = {}
    final = apply_operations(content, operations, limits)
    stepwise = any(map(is_transform, operations))
    before = content
    for step in operations:
        # Under an empty key, for it may be no object in between.
        below_key = Operation(step.op, ("", *step.path), ("", *step.source), step.value)
        after = apply_operations({"": before}, [below_key], Limits())[""] if stepwise else final
        edit = compose(edit, edit_of_operation(step, before, after))
        before = after if stepwise else before
    return edit


def is_transform(step: Operation) -> bool:
    return step.op in ("increment", "union", "subtract") or (step.op in ("add", "copy") and step.path[-1:] == ("-",))


def is_member(content: Any, path: Path) -> bool:
    return bool(path) and all(isinstance(objects(content, path[:depth]), dict) for depth in range(len(path)))


def objects(content: Any, path: Path) -> Any:
    for token in path:
        content = at(content, token)
    return content


def edit_of_operation(step: Operation, before: Any, after: Any) -> Edit:
    if step.op == "test":
        return {}
    if step.op in ("increment", "union", "subtract") and is_member(before, step.path):
        steps = steps_of(step, objects(before, step.path))
        return below(step.path[:-1], {"t": {step.path[-1]: steps}}) if steps else {}
    array = step.path[:-1]
    if (
        step.op in ("add", "copy")
        and is_transform(step)
        and is_member(before, array)
        and isinstance(objects(before, array), list)
    ):
        value = resolve(before, step.source) if step.op == "copy" else step.value
        return below(array[:-1], {"t": {array[-1]: [{"append": [value]}]}})
    edit = edit_to(before, after, step.path)
    return compose(edit, edit_to(before, after, step.source)) if step.op == "move" else edit


def steps_done(edit: Edit, old: Any, new: Any) -> Edit:
    """Return the steps of an edit that changed one content into another."""
    _, _, merges, steps = parts(edit)
    inner = {key: steps_done(child, at(old, key), at(new, key)) for key, child in merges.items()}
    done = {key: some for key, some in steps.items() if same(transform(some, at(old, key)), at(new, key))}
    return node({}, [], {key: child for key, child in inner.items() if child}, done)


def follow(base: Edit, edit: Edit, done: Edit) -> Edit:
    """A base after others have applied steps to what it tells of."""
    sets, removals, merges, _ = parts(base)
    sets, removals, merges, marked = dict(sets), list(removals), dict(merges), "n" in base
    for key, some in parts(done)[3].items():
        mine = parts(edit)[3].get(key)
        value = transform(some, at(sets, key)) if mine else MISSING
        if mine and value is not MISSING and commute(mine, some):
            sets[key], removals, marked = value, [each for each in removals if each != key], False
    for key, child in parts(done)[2].items():
        if key in parts(edit)[2]:
            merges[key] = follow(merges[key], parts(edit)[2][key], child)
    followed = node(sets, removals, merges)
    return followed | {"n": True} if marked else followed
