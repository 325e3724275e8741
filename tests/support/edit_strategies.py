"""Random contents, and edits biased to what is in them, for the tests that hold SQL equal to the oracle."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
from draftline_server.domain.content import Limits
from draftline_server.domain.edits import MISSING, Operation, Path, Strategy, apply_operations, resolve
from draftline_server.domain.errors import DraftlineError
from draftline_server.domain.records import Delta, Operations
from hypothesis import strategies as st

decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode

# Small pools, so that keys and values meet.
KEYS = ["a", "b", "c", "", "a/b", "~", "~1", "0", "1", "01", "-", "-1", "é", "\uffff", "😀", "\U0010ffff"]
NUMBERS = [
    *(0, 1, -1, 2, 10**30 + 1, -(10**29), 2**53 + 1, 100),
    *map(Decimal, ("1.0", "-0.0", "0.1", "0.10", "1E+2", "1E+400", "1E-400", "3." + "1" * 40)),
]
TEXTS = ["", "a", "1", "null", 'quo"te', "back\\slash", "line\nend\u2028", "\ud7ff\ue000", "\U00020000", "\U000e0001"]
_JSON = (dict, list, str, int, bool, Decimal, type(None))
TOKENS = [*KEYS, "2", "00", "+1", "1 ", "99999999999", "x"]

_texts = st.sampled_from(TEXTS) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
_numbers = st.sampled_from(NUMBERS) | st.integers(-(10**20), 10**20)
scalars = st.none() | st.booleans() | _numbers | _texts
_keys = st.sampled_from(KEYS[:6]) | st.sampled_from(KEYS)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=12,
)
contents = st.dictionaries(_keys, values, max_size=6)


def to_text(value: Any) -> str:
    return _encode(value).decode()


def places(document: Any, path: Path = ()) -> Iterator[Path]:
    """Every path that resolves."""
    yield path
    members: Any = ()
    if isinstance(document, dict):
        members = document.items()
    elif isinstance(document, list):
        members = enumerate(document)
    for token, value in members:
        yield from places(value, (*path, str(token)))


_mostly = st.sampled_from([True] * 9 + [False])  # booleans and integers() lean to what is simple


@st.composite
def paths(draw: st.DrawFn, document: Any, kinds: tuple[type, ...] = _JSON) -> Path:
    """Mostly a path that leads to a value of these kinds; else one beside it, below it, or anywhere."""
    found = [path for path in places(document) if path and type(resolve(document, path)) in kinds]
    path = draw(st.sampled_from(found)) if found else draw(targets(document))
    if draw(_mostly):
        return path
    match draw(st.integers(0, 3)):
        case 0:
            return (*path[:-1], draw(st.sampled_from(TOKENS)))
        case 1:
            return (*path, draw(st.sampled_from(TOKENS)))
        case 2:
            return path[:-1]
    return tuple(draw(st.lists(st.sampled_from(TOKENS), max_size=3)))


@st.composite
def targets(draw: st.DrawFn, document: Any) -> Path:
    """A path to write to: an index of an array, its end, or a key, new or not; now and then one that does not lead."""
    containers = [path for path in places(document) if isinstance(resolve(document, path), dict | list)]
    if not containers:
        return ()
    path = draw(st.sampled_from(containers))
    container = resolve(document, path)
    if isinstance(container, dict):
        return (*path, draw(_keys))
    if not draw(_mostly):
        return (*path, draw(st.sampled_from([str(len(container) + 1), "01", "-1", "a"])))
    return (*path, draw(st.sampled_from([*(str(index) for index in range(len(container) + 1)), "-"])))


@st.composite
def operations(draw: st.DrawFn, document: Any) -> Operation:
    op = draw(st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "increment", "union", "subtract"]))
    if op == "add":
        return Operation(op, draw(targets(document)), value=draw(values))
    if op in ("move", "copy"):
        return Operation(op, draw(targets(document)), draw(paths(document)))
    if op == "increment":
        return Operation(op, draw(paths(document, (int, Decimal))), value=draw(_numbers))
    if op in ("union", "subtract"):
        path = draw(paths(document, (list,)))
        present = resolve(document, path)
        items = st.sampled_from(present) | values if isinstance(present, list) and present else values
        return Operation(op, path, value=draw(st.lists(items, max_size=4)))
    path = draw(paths(document))
    if op == "test":
        present = resolve(document, path)
        return Operation(op, path, value=present if draw(_mostly) and present is not MISSING else draw(values))
    return Operation(op, path, value=draw(values) if op == "replace" else None)


@st.composite
def operation_lists(draw: st.DrawFn, content: Any, max_size: int = 8) -> list[Operation]:
    """Operations, each drawn for what the ones before it left."""
    steps: list[Operation] = []
    document = content
    for _ in range(draw(st.integers(1, max_size))):
        step = draw(operations(document))
        steps.append(step)
        try:
            document = apply_operations({"": document}, [_below(step)], Limits())[""]
        except (DraftlineError, KeyError):
            break
    return steps


def _below(step: Operation) -> Operation:
    """The operation on a document that is kept under an empty key, so that it may be no object in between."""
    return replace(step, path=("", *step.path), source=("", *step.source))


@st.composite
def deltas(draw: st.DrawFn, content: Any) -> Any:
    """A content with parts of another: so that objects meet objects, at any depth."""
    delta = draw(contents)
    for path in draw(st.lists(st.sampled_from(list(places(content))), max_size=4)):
        value = draw(values)
        for token in reversed(path):
            value = {token: value, **({} if draw(st.booleans()) else draw(contents))}
        if isinstance(value, dict):
            delta |= value
    return delta


@st.composite
def changes(draw: st.DrawFn, content: Any) -> Delta | Operations:
    """Any edit of a content."""
    if draw(st.booleans()):
        return Operations(draw(operation_lists(content, max_size=4)))
    strategy = draw(st.sampled_from(list(Strategy)))
    depth = draw(st.integers(0, 4)) if strategy is Strategy.DEEP else 0
    return Delta(to_text(draw(deltas(content))), strategy, depth)
