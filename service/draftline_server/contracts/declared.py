"""The parts of a collection spec from which contracts are generated."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from typing import Any

from draftline import Collection, FieldType, OnTypeMismatch

_JSON_TYPES = {FieldType.NUMBER: "number", FieldType.BOOLEAN: "boolean"}


def digest(collection: Collection) -> str:
    """Return the SHA-256 digest of everything that the spec declares, as 64 hexadecimal digits."""
    declared = {
        "fields": {each.path: [str(each.type), str(each.on_type_mismatch)] for each in collection.fields},
        "orders": [[[key.path, key.descending] for key in order.keys] for order in collection.orders],
        "json_schema": collection.json_schema,
        "history": str(collection.history),
        "statistics": [repr(each.statistic) for each in collection.statistics],
        "relations": [repr(each.relation) for each in collection.relations],
    }
    text = json.dumps(declared, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def content_schema(collection: Collection) -> dict[str, Any]:
    """Return the JSON Schema, with declared fields that it lacks.

    A field that rejects other types has its type or null. Any other one accepts every value, so it only gets a
    description. A nested field is added only to an object that the schema describes.
    """
    schema = deepcopy(collection.json_schema) if collection.json_schema else {}
    schema.setdefault("type", "object")
    for each in collection.fields:
        *above, key = [token.replace("~1", "/").replace("~0", "~") for token in each.path.split("/")[1:]]
        parent: Any = schema
        for token in above:
            parent = parent.get("properties", {}).get(token) if isinstance(parent, dict) else None
        if not isinstance(parent, dict) or (above and "properties" not in parent):
            continue
        if parent.get("additionalProperties") is False or "$ref" in parent or "allOf" in parent:
            continue
        name = FieldType(each.type)
        member: dict[str, Any] = {"description": f"Declared as {name}; other types are accepted."}
        if OnTypeMismatch(each.on_type_mismatch) is OnTypeMismatch.REFUSE:
            member = {"type": [_JSON_TYPES.get(name, "string"), "null"], "description": f"Declared as {name}."}
        parent.setdefault("properties", {}).setdefault(key, member)
    return schema
