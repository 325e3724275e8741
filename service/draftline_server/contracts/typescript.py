"""TypeScript interfaces."""

from __future__ import annotations

import json
import re

from .json_types import JsonType, Model

_SCALARS = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
_IDENTIFIER = re.compile(r"[A-Za-z_$][\w$]*", re.ASCII)


def typescript_code(models: list[Model], header: list[str]) -> str:
    """Return the text of a module with an interface for each model."""
    parts = ["\n".join(f"// {line}" for line in header)]
    for model in models:
        lines = [f"export interface {model.name} {{"]
        if model.description:
            lines.insert(0, f"// {model.description}")
        for each in model.attributes:
            key = each.key if _IDENTIFIER.fullmatch(each.key) else json.dumps(each.key)
            comment = f" // {each.description}" if each.description else ""
            lines.append(f"  {key}{'' if each.is_required else '?'}: {_type(each.type)};{comment}")
        parts.append("\n".join([*lines, "}"]))
    return "\n\n".join(parts) + "\n"


def _type(type_: JsonType) -> str:
    match type_.kind:
        case "array":
            return f"Array<{_type(type_.members[0])}>"
        case "map":
            return f"Record<string, {_type(type_.members[0])}>"
        case "model":
            return type_.name
        case "literal":
            return " | ".join(json.dumps(each) for each in type_.values)
        case "union":
            return " | ".join(_type(each) for each in type_.members)
        case _:
            return _SCALARS.get(type_.kind, "unknown")
