"""Collection specs as the options of `draftline collections put`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TextIO

import click
from draftline import (
    ChangeHistory,
    DeclaredField,
    DeclaredStatistic,
    FieldType,
    OnTypeMismatch,
    SortKey,
)

from ..record_files.json_problems import load_json
from .spec_relations import relation_of_text

TYPES = [each.value for each in FieldType]


def spec_of_options(
    *, fields: tuple[str, ...], refuse: tuple[str, ...], orders: tuple[str, ...], statistics: tuple[str, ...],
    relations: tuple[str, ...], schema: TextIO | None, history: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Return the arguments of `put_collection`. Raise UsageError if an option cannot be read."""
    return {
        "fields": declared_fields(dict(map(_field, fields)), refuse, "--refuse"),
        "orders": [[sort_key_of(key.strip()) for key in order.split(",")] for order in orders],
        "statistics": [_statistic(each) for each in statistics],
        "relations": [relation_of_text(each) for each in relations],
        "json_schema": load_json(schema) if schema else None,
        "history": history or ChangeHistory.VALUES,
    }


def declared_fields(types: dict[str, str], refuse: Iterable[str], where: str) -> list[DeclaredField]:
    """Return the declared fields; those in `refuse` reject values of another type.

    Raise UsageError if one in `refuse` is not declared.
    """
    if unknown := sorted(set(refuse) - types.keys()):
        raise click.UsageError(f"{where}: {unknown[0]!r} is not a declared field")
    return [
        DeclaredField(path, kind, OnTypeMismatch.REFUSE if path in refuse else OnTypeMismatch.ACCEPT)
        for path, kind in types.items()
    ]


def _statistic(text: str) -> DeclaredStatistic:
    name, separator, rest = text.partition("=")
    keys, _, measures = rest.partition(":")
    if not separator or not keys.strip():
        raise click.UsageError(f"--statistic takes NAME=KEYS: MEASURES, not {text!r}")
    by, sums = (tuple(each.strip() for each in part.split(",") if each.strip()) for part in (keys, measures))
    ranges = [each for each in by if each.startswith("range(") and each.endswith(")")]
    if len(ranges) > 1:
        raise click.UsageError(f"--statistic takes at most one range, not {', '.join(ranges)}")
    range_by = ranges[0].removeprefix("range(")[:-1] if ranges else ""
    return DeclaredStatistic(name, tuple(each for each in by if each not in ranges), sums, range_by)


def _field(text: str) -> tuple[str, str]:
    path, separator, kind = text.rpartition("=")
    if not separator:
        raise click.UsageError(f"--field takes PATH=TYPE, not {text!r}")
    if not path.startswith("/"):
        raise click.UsageError(f"--field takes a JSON Pointer, such as /{path}, not {path!r}")
    kind = kind.strip().lower()
    if kind not in TYPES:
        raise click.UsageError(f"--field {path!r}: {kind!r} is not a type; use one of {', '.join(TYPES)}")
    return path, kind


def sort_key_of(text: str) -> SortKey:
    path, _, direction = text.rpartition(" ")
    return SortKey(path, descending=True) if direction == "desc" else SortKey(text)
