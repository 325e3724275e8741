"""Sort keys as plain SQL expressions, for statements that compute the keys of many contents.

They are the keys that `draftline.order_key` computes, several times faster: the fields of the orders are literals in
the statement, each field is read and encoded once for all orders, and no function is called for the usual values.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import ColumnElement, LargeBinary, Select, Subquery, Text, literal_column, select
from sqlalchemy.dialects.postgresql import JSONB

from ...domain.collections import IndexKey, IndexOrder
from ...domain.filters.ast import FieldType, Path
from ..fields import text_literal

_MISSING = r"'\xff'::bytea"
_NOTHING: ColumnElement[int] = literal_column(
    "0"
)  # as an OFFSET: the planner then computes the columns of a subquery once
# Operands of numbers of up to 11 significant digits, whose keys fit into 64 bits; see draftline.order_key.
_ALL_BUT_FIRST = "1152921504606846975"  # 0x0fff...
_ONES = "18764998447377"  # 0x111111111111
_MAX_DIGITS = 11


def with_keys(contents: Subquery, orders: Sequence[IndexOrder]) -> Select[tuple[object, ...]]:
    """Select all columns of `contents`, and the keys of its column `content` as `key_0`, `key_1` and so on."""
    fields = sorted({(key.path, key.type) for order in orders for key in order})
    values = _extended(contents, {f"v{i}": _value(path) for i, (path, _) in enumerate(fields)})
    texts = _extended(values, {f"t{i}": _text(f"v{i}", type_) for i, (_, type_) in enumerate(fields)})
    digits = {f"d{i}": _digits(f"t{i}") for i, (_, type_) in enumerate(fields) if type_ is FieldType.NUMBER}
    parts = sorted({key for order in orders for key in order}, key=lambda key: (key.path, key.type, key.descending))
    numbers = {field: i for i, field in enumerate(fields)}
    encoded = _extended(
        _extended(texts, digits), {f"p{j}": _part(key, numbers[key.path, key.type]) for j, key in enumerate(parts)}
    )
    keys = [
        literal_column(" || ".join(f"p{parts.index(key)}" for key in order), LargeBinary()).label(f"key_{i}")
        for i, order in enumerate(orders)
    ]
    return select(*(encoded.c[column.name] for column in contents.c), *keys)


def _extended(source: Subquery, columns: dict[str, ColumnElement[object]]) -> Subquery:
    added = [column.label(name) for name, column in columns.items()]
    return select(*source.c, *added).offset(_NOTHING).subquery()


def _value(path: Path) -> ColumnElement[object]:
    return literal_column(f"content {' '.join(f'-> {text_literal(name)}' for name in path)}", JSONB())


def _text(value: str, type_: FieldType) -> ColumnElement[object]:
    """Return the text of a value that has the type; NULL for other values, and for types that need no text."""
    conditions = {
        FieldType.TEXT: f"jsonb_typeof({value}) = 'string' AND octet_length({value} #>> '{{}}') <= 800",
        FieldType.NUMBER: f"jsonb_typeof({value}) = 'number'",
        FieldType.DATE: f"jsonb_typeof({value}) = 'string'",
    }
    return literal_column(f"CASE WHEN {conditions.get(type_, 'false')} THEN {value} #>> '{{}}' END", Text())


def _digits(text: str) -> ColumnElement[object]:
    """Return the significant digits of a number."""
    return literal_column(f"btrim(replace(replace({text}, '-', ''), '.', ''), '0')", Text())


def _part(key: IndexKey, i: int) -> ColumnElement[object]:
    match key.type:
        case FieldType.TEXT:
            sql = _text_part(f"t{i}", descending=key.descending)
        case FieldType.NUMBER:
            sql = _number_part(key, f"t{i}", f"d{i}")
        case FieldType.BOOLEAN:
            first, last = (r"'\x19'", r"'\x16'") if key.descending else (r"'\x16'", r"'\x19'")
            sql = f"CASE v{i} WHEN 'false' THEN {first} WHEN 'true' THEN {last} ELSE {_MISSING} END"
        case FieldType.DATE:
            sql = _date_part(key, f"t{i}")
        case FieldType.TIMESTAMP:
            sql = f"CASE WHEN jsonb_typeof(v{i}) = 'string' THEN {_by_function(key)} ELSE {_MISSING} END"
    return literal_column(sql, LargeBinary())


def _text_part(text: str, *, descending: bool) -> str:
    # convert_to is not immutable, so that a decoding in which a backslash stands for itself takes its place.
    part = rf"decode(replace({text}, '\', '\\') || '\000', 'escape')"
    if descending:
        part = f"substr(varbit_send(~ CAST('x' || encode({part}, 'hex') AS varbit)), 5)"
    return rf"CASE WHEN {text} IS NULL THEN {_MISSING} ELSE '\x10'::bytea || {part} END"


def _number_part(key: IndexKey, text: str, digits: str) -> str:
    count = f"octet_length({digits})"
    zero = r"'\x17'::bytea" if key.descending else r"'\x18'::bytea"
    decimals = f"CASE strpos({text}, '.') WHEN 0 THEN 0 ELSE octet_length({text}) - strpos({text}, '.') END"
    exponent = f"octet_length(ltrim(replace(replace({text}, '-', ''), '.', ''), '0')) - {decimals}"
    bits = (
        f"CAST(CAST('x19' || to_hex(128 + {exponent}) || rpad({digits}, 12, '0') AS bit(64)) AS bigint)"
        f" + (({_ONES} >> (48 - 4 * {count})) << (48 - 4 * {count}))"
    )
    is_inverted = f"{'NOT ' if key.descending else ''}starts_with({text}, '-')"
    return (
        f"CASE WHEN {text} IS NULL THEN {_MISSING} WHEN {digits} = '' AND octet_length({text}) <= 100 THEN {zero}"
        f" WHEN {count} <= {_MAX_DIGITS} AND octet_length({text}) <= 100"
        f" THEN substr(int8send((CASE WHEN {is_inverted} THEN {_ALL_BUT_FIRST} ELSE 0 END) # ({bits})), 1,"
        f" {count} / 2 + 3)"
        f" ELSE {_by_function(key)} END"
    )


def _date_part(key: IndexKey, text: str) -> str:
    """Return the key of a date of the form 2026-11-20, by arithmetic up to day 28 of a month."""
    digits = f"replace({text}, '-', '')"
    day = f"make_date(CAST(left({text}, 4) AS int), CAST(substr({text}, 6, 2) AS int), CAST(right({text}, 2) AS int))"
    days = f"({day} - date '2000-01-01')"
    number = f"536870911 - {days}" if key.descending else f"{days} + 536870912"
    return (
        f"CASE WHEN {text} IS NULL THEN {_MISSING} WHEN octet_length({text}) = 10 AND {text} LIKE '____-__-__'"
        f" AND octet_length({digits}) = 8 AND ltrim({digits}, '0123456789') = '' AND left({text}, 4) <> '0000'"
        f" AND substr({text}, 6, 2) COLLATE \"C\" BETWEEN '01' AND '12'"
        f" AND right({text}, 2) COLLATE \"C\" BETWEEN '01' AND '28'"
        f" THEN int4send({number}) ELSE {_by_function(key)} END"
    )


def _by_function(key: IndexKey) -> str:
    keys = [{"path": key.path, "type": key.type, "descending": key.descending}]
    return f"draftline.order_key(content, CAST({text_literal(json.dumps(keys, ensure_ascii=False))} AS jsonb))"
