"""Collection specs as JSON, which `draftline collections show` prints and `put` reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TextIO

from draftline import (
    Collection,
    CollectionStatistic,
    DeclaredStatistic,
    OnTypeMismatch,
    SortKey,
    StatisticKey,
)

from ..record_files.json_problems import load_json
from .spec_options import declared_fields, sort_key_of
from .spec_relations import is_relation, relation_as_dict, relation_of_dict

# Keys of the `--json` output that are not part of the spec.
OUTPUT_ONLY = {"collection", "version", "indexes", "mismatch_counts"}
DECLARED = {"fields", "refuse", "orders", "json_schema", "history", "statistics", "relations"}


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(each, str) for each in values)


def _is_statistic(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and _are_texts(value.get("group_by"))
        and _are_texts(value.get("measures", []))
        and isinstance(value.get("range_by", ""), str)
    )


_SHAPES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("fields", lambda value: isinstance(value, dict) and _are_texts([*value.values()]), "an object of paths and types"),
    ("refuse", _are_texts, "an array of paths"),
    ("orders", lambda value: isinstance(value, list) and all(map(_are_texts, value)), "an array of arrays of keys"),
    (
        "statistics",
        lambda value: isinstance(value, list) and all(map(_is_statistic, value)),
        "an array of objects with name, group_by, measures and range_by",
    ),
    (
        "relations",
        lambda value: isinstance(value, list) and all(map(is_relation, value)),
        "an array of objects with name, field, collection and inverse",
    ),
)


def spec_of_json(declaration: TextIO) -> dict[str, Any]:
    """Return the arguments of `put_collection`. Raise ValueError if the JSON is not that of a spec."""
    read = load_json(declaration)
    if not isinstance(read, dict) or not read.keys() <= DECLARED | OUTPUT_ONLY:
        raise ValueError(f"the spec must be an object of {', '.join(sorted(DECLARED))}")
    for name, is_well, shape in _SHAPES:
        if name in read and not is_well(read[name]):
            raise ValueError(f"spec: {name} must be {shape}")
    orders = [[sort_key_of(key) for key in order] for order in read.get("orders", [])]
    rest = {name: read[name] for name in ("json_schema", "history") if name in read}
    rest["statistics"] = [
        DeclaredStatistic(
            each["name"], tuple(each["group_by"]), tuple(each.get("measures", [])), each.get("range_by", "")
        )
        for each in read.get("statistics", [])
    ]
    rest["relations"] = [relation_of_dict(each) for each in read.get("relations", [])]
    return {
        "fields": declared_fields(read.get("fields", {}), read.get("refuse", []), "refuse"),
        "orders": orders,
        **rest,
    }


def spec_as_json(collection: Collection) -> dict[str, Any]:
    """Return what `spec_of_json` reads, and the state of the indexes."""
    return {
        "collection": collection.collection,
        "version": collection.version,
        "fields": {field.path: str(field.type) for field in collection.fields},
        "refuse": [field.path for field in collection.fields if field.on_type_mismatch is OnTypeMismatch.REFUSE],
        "orders": [_order(order.keys) for order in collection.orders],
        "json_schema": collection.json_schema,
        "history": str(collection.history),
        "statistics": [_statistic_as_dict(each) for each in collection.statistics],
        "relations": [relation_as_dict(each) for each in collection.relations],
        "indexes": [{"order": _order(each.order.keys), "state": str(each.state)} for each in collection.indexes],
        **({} if collection.mismatch_counts is None else {"mismatch_counts": collection.mismatch_counts}),
    }


def _statistic_as_dict(statistic: CollectionStatistic) -> dict[str, Any]:
    declared = statistic.statistic
    keys = [statistic_key_text(key) for key in declared.group_by]
    shown = {
        "name": declared.name,
        "group_by": keys,
        "measures": list(declared.measures),
        "state": str(statistic.state),
    }
    return {**shown, "range_by": declared.range_by} if declared.range_by else shown


def statistic_key_text(key: StatisticKey | str) -> str:
    if isinstance(key, str):
        return key
    return key.path if key.grain is None else f"{key.grain}({key.path})"


def _order(keys: tuple[SortKey, ...]) -> list[str]:
    return list(map(sort_key_text, keys))


def sort_key_text(key: SortKey) -> str:
    return f"{key.path} desc" if key.descending else key.path
