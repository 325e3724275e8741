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
    hidden = {model.name for model in models}
    for model in models:
        lines = [f"export interface {model.name} {{"]
        if model.description:
            lines.insert(0, f"// {model.description}")
        for each in model.attributes:
            key = each.key if _IDENTIFIER.fullmatch(each.key) else json.dumps(each.key)
            comment = f" // {each.description}" if each.description else ""
            lines.append(f"  {key}{'' if each.is_required else '?'}: {_type(each.type, hidden)};{comment}")
        parts.append("\n".join([*lines, "}"]))
    return "\n\n".join(parts) + "\n"


def _type(type_: JsonType, hidden: set[str]) -> str:
    """Return a type. `hidden` are the global types that cannot be used, because interfaces have their names."""
    match type_.kind:
        case "array":
            member = _type(type_.members[0], hidden)
            return f"({member})[]" if "Array" in hidden else f"Array<{member}>"
        case "map":
            member = _type(type_.members[0], hidden)
            return f"{{ [key: string]: {member} }}" if "Record" in hidden else f"Record<string, {member}>"
        case "model":
            return type_.name
        case "literal":
            return " | ".join(json.dumps(each) for each in type_.values)
        case "union":
            return " | ".join(_type(each, hidden) for each in type_.members)
        case _:
            return _SCALARS.get(type_.kind, "unknown")
