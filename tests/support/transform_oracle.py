"""The transforms of drafts in plain Python: migrations/functions/transforms.sql is held equal to it.

The steps of a key are [{"increment": number}], or those of a list: {"subtract": items} first, if there is one, then
{"union": items} and {"append": items}, no two of a kind in a row.
"""

from typing import Any

from draftline_server.domain.content import Limits, equal
from draftline_server.domain.edits import MISSING, Operation, apply_operations

Steps = list[dict[str, Any]]


def among(item: Any, items: list[Any]) -> bool:
    return any(equal(item, each) for each in items)


def without(items: list[Any], gone: list[Any]) -> list[Any]:
    return [item for item in items if not among(item, gone)]


def union(items: list[Any], added: list[Any]) -> list[Any]:
    merged = list(items)
    for item in added:
        if not among(item, merged):
            merged.append(item)
    return merged


def is_number(value: Any) -> bool:
    return not isinstance(value, bool | str | list | dict | None) and value is not MISSING


def transform(steps: Steps, target: Any) -> Any:
    for step in steps:
        ((name, value),) = step.items()
        if name == "increment":
            target = value if not is_number(target) else added(target, value)
            continue
        if target is not MISSING and not isinstance(target, list):
            target = []
        items = [] if target is MISSING else target
        if name == "union":
            target = union(items, value)
        elif name == "append":
            target = [*items, *value]
        elif target is not MISSING:
            target = without(items, value)
    return target


def added(one: Any, other: Any) -> Any:
    return apply_operations({"n": one}, [Operation("increment", ("n",), value=other)], Limits())["n"]


def makes(steps: Steps) -> bool:
    """Return whether steps create a value where there is none."""
    return any("subtract" not in step for step in steps)


def chain(a: Steps, b: Steps) -> dict[str, Any]:
    """Return the action of the steps a and then b: {"t": steps}, or {"s": value} if it does not depend on the value."""
    counts = ["increment" in steps[0] for steps in (a, b)]
    if all(counts):
        return {"t": [{"increment": added(a[0]["increment"], b[0]["increment"])}]}
    if any(counts):
        return {"s": transform(b, transform(a, MISSING))}
    return {"t": normal([*a, *b])}


def normal(steps: Steps) -> Steps:
    subtracted: list[Any] = []
    puts_: Steps = []
    for step in steps:
        ((name, items),) = step.items()
        if name == "subtract":
            subtracted = union(subtracted, items)
            left, puts_ = puts_, []
            for each in left:
                ((kind, value),) = each.items()
                _add(puts_, kind, without(value, items))
        else:
            _add(puts_, name, items)
    return ([{"subtract": subtracted}] if subtracted or not puts_ else []) + puts_


def _add(steps: Steps, name: str, items: list[Any]) -> None:
    if name == "union":
        items = union([], items)
        for step in steps:
            items = without(items, next(iter(step.values())))
    elif not items:
        name = "union"
    if steps and steps[-1] == {"union": []}:
        steps.pop()
    elif not items and steps:
        return
    if steps and name in steps[-1]:
        steps[-1] = {name: steps[-1][name] + items}
    else:
        steps.append({name: items})


def prune_steps(steps: Steps, basis: Any, content: Any) -> Steps:
    if "increment" in steps[0]:
        return [] if equal(steps[0]["increment"], 0) and is_number(basis) and is_number(content) else steps
    values = [value for value in (basis, content) if value is not MISSING]
    if not all(isinstance(value, list) for value in values):
        return steps
    kept = list(steps)
    if "subtract" in kept[0]:
        subtracted = [item for item in kept[0]["subtract"] if any(among(item, value) for value in values)]
        kept[:1] = [{"subtract": subtracted}] if subtracted else []
    if kept and kept[-1] == {"union": []} and len(values) == 2:
        kept.pop()
    return kept


def steps_of(step: Operation, target: Any) -> Steps:
    if step.op == "increment":
        return [] if target is not MISSING and equal(step.value, 0) else [{"increment": step.value}]
    present = [] if target is MISSING else target
    if step.op == "union":
        items = without(union([], step.value), present)
        return [{"union": items}] if items or target is MISSING else []
    items = [item for item in union([], step.value) if among(item, present)]
    return [{"subtract": items}] if items else []


def commute(one: Steps, other: Steps) -> bool:
    def items(steps: Steps, subtracted: bool) -> list[Any]:
        return [item for step in steps for name, some in step.items() if (name == "subtract") == subtracted
                for item in some]  # fmt: skip

    if "increment" in one[0] or "increment" in other[0]:
        return "increment" in one[0] and "increment" in other[0]
    pairs = ((items(one, True), items(other, False)), (items(other, True), items(one, False)))
    return not any(among(item, added_) for gone, added_ in pairs for item in gone)
