"""Python models: dataclasses, TypedDicts, Pydantic models and msgspec structs."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum

from .json_types import Attribute, JsonType, Model
from .naming import is_unchanged_name


class PythonKind(StrEnum):
    DATACLASS = "dataclass"
    TYPEDDICT = "typeddict"
    PYDANTIC = "pydantic"
    MSGSPEC = "msgspec"


_SCALARS = {"string": "str", "integer": "int", "boolean": "bool", "null": "None", "any": "Any"}
_IMPORTS = {
    PythonKind.DATACLASS: {
        "dataclass": "from dataclasses import dataclass", "field": "from dataclasses import field",
        "UNSET": "from draftline import UNSET", "Unset": "from draftline import Unset",
    },
    PythonKind.TYPEDDICT: {
        "NotRequired": "from typing import NotRequired", "TypedDict": "from typing import TypedDict",
    },
    PythonKind.PYDANTIC: {
        "BaseModel": "from pydantic import BaseModel", "ConfigDict": "from pydantic import ConfigDict",
        "Field": "from pydantic import Field",
    },
    PythonKind.MSGSPEC: {
        name: f"from msgspec import {name}" for name in ("UNSET", "Struct", "UnsetType", "field")
    },
}  # fmt: skip
_TYPING = {"Any": "from typing import Any", "Literal": "from typing import Literal"}
_WORD = re.compile(r"[A-Za-z_]\w*")


def python_code(kind: PythonKind, models: list[Model], header: list[str]) -> str:
    """Return the text of a module with the models."""
    render = _RENDERERS[kind]
    body = "\n\n\n".join("\n".join(render(model)) for model in models)
    words = set(_WORD.findall(re.sub(r'"(?:[^"\\]|\\.)*"|#.*', lambda found: _annotation(found[0]), body)))
    wanted = {name: line for name, line in {**_TYPING, **_IMPORTS[kind]}.items() if name in words}
    lines = [f"# {line}" for line in header]
    return "\n".join([*lines, "", "from __future__ import annotations", "", *_import_lines(wanted), "", "", body, ""])


def _annotation(text: str) -> str:
    """Return a quoted type of a TypedDict as code, and nothing for a comment or another string."""
    return text.strip('"') if text.startswith('"NotRequired[') or text.startswith('"type: ') else ""


def _import_lines(wanted: dict[str, str]) -> list[str]:
    modules: dict[str, list[str]] = {}
    for name, line in wanted.items():
        modules.setdefault(line.split()[1], []).append(name)

    def lines(names: list[str]) -> list[str]:
        return [f"from {module} import {', '.join(sorted(modules[module], key=_import_order))}" for module in names]

    standard = sorted(module for module in modules if module in ("dataclasses", "typing"))
    others = sorted(module for module in modules if module not in standard)
    return [*lines(standard), *([""] if standard and others else []), *lines(others)]


def _import_order(name: str) -> tuple[int, str]:
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def _type(type_: JsonType, kind: PythonKind) -> str:
    match type_.kind:
        case "number":
            return "int | float" if kind in (PythonKind.PYDANTIC, PythonKind.MSGSPEC) else "float"
        case "array":
            return f"list[{_type(type_.members[0], kind)}]"
        case "map":
            return f"dict[str, {_type(type_.members[0], kind)}]"
        case "model":
            return type_.name
        case "literal":
            if kind is PythonKind.MSGSPEC and any(isinstance(each, bool) for each in type_.values):
                return "Any"
            return (
                f"Literal[{', '.join(quoted(each) if isinstance(each, str) else repr(each) for each in type_.values)}]"
            )
        case "union":
            if kind is PythonKind.MSGSPEC and not _is_msgspec_union(type_.members):
                return "Any"
            return " | ".join(_type(each, kind) for each in type_.members)
        case _:
            return _SCALARS[type_.kind]


def _is_msgspec_union(members: tuple[JsonType, ...]) -> bool:
    """Return whether msgspec can tell the members apart: at most one of each JSON type, and no literal."""
    classes = ["object" if each.kind in ("map", "model") else each.kind for each in members]
    return len(set(classes)) == len(classes) and not ("literal" in classes and len(set(classes) - {"null"}) > 1)


def _comment(attribute: Attribute) -> str:
    return f"  # {attribute.description}" if attribute.description else ""


def _class(head: list[str], model: Model, members: list[str]) -> list[str]:
    comment = [f"# {model.description}"] if model.description else []
    return [
        *comment,
        *head,
        *(f"    {line}" for line in members),
        *([] if any(not line.startswith("#") for line in members) else ["    pass"]),
    ]


def _dataclass(model: Model) -> list[str]:
    members = []
    for each in model.attributes:
        type_ = _type(each.type, PythonKind.DATACLASS)
        if not each.is_required and each.type.kind != "any":
            type_ = _or(type_, "Unset")
        key = f'metadata={{"key": {quoted(each.key)}}}' if each.key != each.name else ""
        default = "" if each.is_required else "default=UNSET" if key else "UNSET"
        value = f"field({', '.join(filter(None, (default, key)))})" if key else default
        members.append(f"{each.name}: {type_}{f' = {value}' if value else ''}{_comment(each)}")
    return _class(["@dataclass(kw_only=True)", f"class {model.name}:"], model, members)


def _typed_dict(model: Model) -> list[str]:
    is_plain = all(is_unchanged_name(each.key) for each in model.attributes)
    types = []
    for each in model.attributes:
        type_ = _type(each.type, PythonKind.TYPEDDICT)
        if not is_plain and _uses_model(each.type):
            type_ = repr(type_)  # the class may be defined below
        types.append((each, type_ if each.is_required else f"NotRequired[{type_}]"))
    if is_plain:
        return _class([f"class {model.name}(TypedDict):"], model, [f"{each.key}: {type_}{_comment(each)}"
                                                                   for each, type_ in types])  # fmt: skip
    # Checkers of types reject an empty key. Objects may have it: they are not closed.
    rows = [f"        {quoted(each.key)}: {type_},{_comment(each)}" if each.key
            else '        # a TypedDict cannot express the key ""' for each, type_ in types]  # fmt: skip
    comment = [f"# {model.description}"] if model.description else []
    return [*comment, f"{model.name} = TypedDict(", f"    {quoted(model.name)},", "    {", *rows, "    },", ")"]


def _pydantic(model: Model) -> list[str]:
    extra = "forbid" if model.is_closed else "allow"
    members = [f'model_config = ConfigDict(extra="{extra}", populate_by_name=True)', ""]
    for each in model.attributes:
        type_ = _type(each.type, PythonKind.PYDANTIC)
        if not each.is_required and each.type.kind != "any" and not _has_null(each.type):
            type_ = f"{type_} | None"
        alias = f"alias={quoted(each.key)}" if each.key != each.name else ""
        default = "" if each.is_required else "default=None" if alias else "None"
        value = f"Field({', '.join(filter(None, (default, alias)))})" if alias else default
        members.append(f"{each.name}: {type_}{f' = {value}' if value else ''}{_comment(each)}")
    return [line.rstrip() for line in _class([f"class {model.name}(BaseModel):"], model, members)]


def _msgspec(model: Model) -> list[str]:
    members = []
    for each in model.attributes:
        if any(character in '"\\' or not character.isprintable() for character in each.key):
            members.append(f"# msgspec cannot express the key {quoted(each.key)}")
            continue
        type_ = _type(each.type, PythonKind.MSGSPEC)
        if not each.is_required:
            type_ = _or(type_, "UnsetType")
        name = f"name={quoted(each.key)}" if each.key != each.name else ""
        default = "" if each.is_required else "default=UNSET" if name else "UNSET"
        value = f"field({', '.join(filter(None, (default, name)))})" if name else default
        members.append(f"{each.name}: {type_}{f' = {value}' if value else ''}{_comment(each)}")
    options = ", kw_only=True" + (", forbid_unknown_fields=True" if model.is_closed else "")
    return _class([f"class {model.name}(Struct{options}):"], model, members)


def _or(type_: str, marker: str) -> str:
    """Return the union of a type and a marker; None stays last."""
    return f"{type_.removesuffix(' | None')} | {marker} | None" if type_.endswith(" | None") else f"{type_} | {marker}"


def _uses_model(type_: JsonType) -> bool:
    return type_.kind == "model" or any(map(_uses_model, type_.members))


def _has_null(type_: JsonType) -> bool:
    return type_.kind == "null" or any(each.kind == "null" for each in type_.members if type_.kind == "union")


def quoted(text: str) -> str:
    """Return a Python literal in double quotes; characters that cannot be printed are escaped."""
    escaped = "".join(
        f"\\{each}"
        if each in '"\\'
        else each
        if each.isprintable()
        else each.encode("unicode_escape", "backslashreplace").decode()
        for each in text
    )
    return f'"{escaped}"'


_RENDERERS: dict[PythonKind, Callable[[Model], list[str]]] = {
    PythonKind.DATACLASS: _dataclass,
    PythonKind.TYPEDDICT: _typed_dict,
    PythonKind.PYDANTIC: _pydantic,
    PythonKind.MSGSPEC: _msgspec,
}
