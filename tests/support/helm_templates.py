"""A renderer of the part of Helm's template language that the chart uses.

It has if, else, range over a dict, end, values by their paths, and the functions quote, toYaml, nindent, add and not.
Anything else is an error, so that a template cannot pass the tests by a construct that is not rendered as Helm does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_TAG = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)


def rendered(chart: Path, release: str, **overrides: Any) -> list[dict[str, Any]]:
    """Return the objects of a chart, with values that override its own: `a={"b": "c"}` is Helm's `--set a.b=c`."""
    values = _merged(yaml.safe_load((chart / "values.yaml").read_text()), overrides)
    scope = {"Values": values, "Release": {"Name": release}}
    objects = []
    for template in sorted((chart / "templates").glob("*.yaml")):
        objects += [each for each in yaml.safe_load_all(_render(template.read_text(), scope)) if each]
    return objects


def _merged(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, Mapping):
        return {**base, **{name: _merged(base.get(name), value) for name, value in over.items()}}
    return over


def _render(text: str, scope: dict[str, Any]) -> str:
    tokens: list[str | tuple[str]] = []
    position = 0
    for tag in _TAG.finditer(text):
        before = text[position : tag.start()]
        if tokens and position and text[position - 3 : position - 2] == "-":
            before = before.lstrip()
        tokens += [before.rstrip() if tag[1] else before, (tag[2],)]
        position = tag.end()
    out, rest = _block([*tokens, text[position:]], scope)
    assert not rest, f"unbalanced: {rest[:1]}"
    return out


def _block(tokens: list[str | tuple[str]], scope: dict[str, Any]) -> tuple[str, list[str | tuple[str]]]:
    """Render tokens up to an `else` or `end`; return the text and the rest, which begins with that."""
    out: list[str] = []
    while tokens:
        token, *rest = tokens
        if isinstance(token, str):
            out.append(token)
            tokens = rest
            continue
        (code,) = token
        if code in ("end", "else"):
            return "".join(out), tokens
        if code.startswith("if "):
            first, rest = _block(rest, scope)
            second = ""
            if rest[0] == ("else",):
                second, rest = _block(rest[1:], scope)
            out.append(first if _value(code.removeprefix("if "), scope) else second)
            tokens = rest[1:]
        elif found := re.fullmatch(r"range (\$\w+), (\$\w+) := (\S+)", code):
            for name, value in sorted(_value(found[3], scope).items()) or [(None, None)]:
                text, after = _block(rest, {**scope, found[1]: name, found[2]: value})
                out.append(text if name is not None else "")
            tokens = after[1:]
        else:
            out.append(_text(_value(code, scope)))
            tokens = rest
    return "".join(out), []


def _value(code: str, scope: dict[str, Any]) -> Any:
    first, *pipes = (part.strip() for part in code.split("|"))
    value = _call(first.split(), scope)
    for pipe in pipes:
        value = _call([*pipe.split(), value], scope)
    return value


def _call(words: list[Any], scope: dict[str, Any]) -> Any:
    name, *arguments = words
    match name:
        case "quote":
            return json.dumps(_text(_operand(arguments[0], scope)))
        case "toYaml":
            return yaml.safe_dump(_operand(arguments[0], scope), default_flow_style=False).rstrip()
        case "nindent":
            return "".join("\n" + " " * int(arguments[0]) + line for line in str(arguments[1]).splitlines())
        case "add":
            return sum(int(_operand(each, scope)) for each in arguments)
        case "not":
            return not _operand(arguments[0], scope)
    assert not arguments, words
    return _operand(name, scope)


def _operand(word: Any, scope: dict[str, Any]) -> Any:
    if not isinstance(word, str) or not re.match(r"[.$]|\d", word):
        return word
    if word[0] == "$":
        return scope[word]
    if word[0] != ".":
        return int(word)
    value: Any = scope
    for name in word[1:].split("."):
        value = value[name]  # Helm would render a missing value as nothing
    return value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
