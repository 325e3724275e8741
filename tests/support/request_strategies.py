"""Requests that are nearly right, and such as were damaged on their way."""

from __future__ import annotations

from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

UUID = "0197c5a2-64b1-7c3e-8d0f-1a2b3c4d5e6f"

ODD_TEXT = [
    "",
    "\0",
    "\n",
    "a",
    "/",
    "/a",
    "/a/0",
    "/~1",
    "~",
    "-",
    "🎬",
    "\u0085",
    "\ufeff",
    "x" * 129,
    '"',
    "\\",
    "'",
]
JSON = [
    "{}", "[]", "null", "1", "-0", "1e999", "1e-1000", '{"a": 1}', '{"a": {"b": [1, 2]}, "c": null}',
    '{"a": "\\ud800"}',
    '{"a": "\\u0000"}', '{"a": 1e99999999999999999999}', '{"a": 1e400}', '{"a":' * 40 + "1" + "}" * 40, "{",
    '{"": {"": {}}}',
    "true", '"a"', '{"a": 123456789012345678901234567890}', '{"type": "object"}', '{"$ref": "#"}', '{"type": 7}',
    '{"properties": {"a": {"type": "number"}}}', '{"$ref": "http://example.org/x"}',
    '{"pattern": "(", "minimum": 1e400}',
]  # fmt: skip
FILTERS = [
    "a = 1", "NOT a", "a:b", "a.b > 1e400", "record.version = 1", "(a = 1 OR b",
    "record.parent.a:*", "NOT record.children.a = 1", "to.a:* OR from.a:*", "a = " + "9" * 400, '"" = ""',
    "kind = DELETE", "version > 1e400 OR user_id:*", f'commit_id = "{UUID}" AND session_id = ""', "create_time < 1",
]  # fmt: skip
ORDERS = ["", "a", "a desc, b", "record.version", "a asc desc", "create_time", "create_time desc"]
TEXTS: dict[str, st.SearchStrategy[str]] = {
    "collection": st.sampled_from(["c1", "c2", "c2", "c2", "c1", "c1", "c1", "c2", ""]),
    "record_id": st.sampled_from(["r1", "r2", "r3", "r3", "r1", "r2", "r3", "\x7f", ""]),
    "json": st.sampled_from(JSON) | st.text(max_size=20),
    "json_schema": st.sampled_from(["", *JSON]) | st.text(max_size=20),
    "filter": st.sampled_from(["", *FILTERS]) | st.text(max_size=20),
    "order_by": st.sampled_from(ORDERS) | st.text(max_size=10),
    "expand": st.sampled_from(["parent", "children", "parent.parent", "children.children", "to", "from.to", "a", ".."]),
    "field": st.sampled_from(["/a", "/a/b", "/", "a"]),
    "inverse": st.sampled_from(["", "from", "to", "x y"]),
    "session_id": st.sampled_from(["", "", "s1", "s2", "\0"]),
    "request_id": st.sampled_from(["", "", "", "", UUID, UUID.upper(), "x"]),
    "commit_id": st.sampled_from([UUID, UUID.upper(), "x"]),
    "change_reason": st.sampled_from(["", "", "", "why", "\0"]),
    "condition": st.sampled_from(["", *FILTERS]) | st.text(max_size=20),
    "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "increment", "union", "subtract", "x"]),
    "path": st.sampled_from(["", "/a", "/a/b", "/a/b/-", "/a/b/0", "/", "//", "/~", "a"]) | st.text(max_size=8),
}  # fmt: skip
NUMBERS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)]),
    FieldDescriptor.CPPTYPE_INT64: st.sampled_from([0, 1, 1, 2, 2, -1, 2**63 - 1, -(2**63)]),
    FieldDescriptor.CPPTYPE_UINT32: st.sampled_from([0, 1, 2, 32, 33, 2**32 - 1]),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_ENUM: st.sampled_from([0, 1, 1, 1, 1, 1, 2, 2, 3, 4, 99, -1]),
}
# How many of ten times; what most requests need is there, and what may spoil any of them seldom is.
LEFT_OUT = {
    **dict.fromkeys(("tenant_id", "collection", "record_id", "edits", "measures"), 1),
    **dict.fromkeys(("request_id", "change_reason", "session_id", "strategy", "depth", "condition"), 8),
    **dict.fromkeys(("base_version", "expected_draft_version", "parent_id", "having", "response_encoding"), 8),
}


@st.composite
def messages(draw: st.DrawFn, descriptor: Any, levels: int = 9) -> Message:
    """A message of a type that is nearly right."""
    message = message_factory.GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if levels:
                for key in draw(st.lists(st.sampled_from(["a", "b", "", "\0"]), max_size=2)):
                    _set_entry(
                        draw, getattr(message, field.name), key, field.message_type.fields_by_name["value"], levels
                    )
            continue
        if draw(st.integers(0, 9)) < LEFT_OUT.get(field.name, 4):
            continue
        count = draw(st.sampled_from([1, 1, 2, 3, 0])) if field.is_repeated else 1
        for _ in range(count):
            _set(draw, message, field, levels)
    return message


def _set_entry(draw: st.DrawFn, entries: Any, key: str, value: Any, levels: int) -> None:
    if value.message_type is not None:
        entries[key].CopyFrom(draw(messages(value.message_type, levels - 1)))
    elif value.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        entries[key] = draw(st.sampled_from(ODD_TEXT))
    else:
        entries[key] = draw(NUMBERS[value.cpp_type])


def _set(draw: st.DrawFn, message: Message, field: Any, levels: int) -> None:
    if field.message_type is not None:
        if not levels:
            return
        value = draw(messages(field.message_type, levels - 1))
        (getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name)).CopyFrom(value)
        return
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        value = draw(TEXTS.get(field.name, st.sampled_from(ODD_TEXT)))
    else:
        value = draw(NUMBERS[field.cpp_type])
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def with_tenant(message: Any, tenant_id: str) -> Any:
    if hasattr(message, "items"):
        for item in message.items:
            if item.WhichOneof("write"):
                getattr(item, item.WhichOneof("write")).tenant_id = tenant_id
        return message
    if hasattr(message, "tenant_id"):  # an operator's requests are about all tenants
        message.tenant_id = tenant_id
    for item in getattr(message, "requests", ()):
        item.tenant_id = tenant_id
        for name in ("validate_only", "change_reason", "request_id"):  # those of the batch
            item.ClearField(name)
    return message


@st.composite
def damaged(draw: st.DrawFn, descriptor: Any) -> bytes:
    """The bytes of such a message with some of them changed, lost or doubled."""
    data = draw(messages(descriptor)).SerializeToString()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        end = draw(st.integers(at, min(len(data), at + 20)))
        data = data[:at] + draw(st.sampled_from([b"", data[at:end] * 2, b"\xff", b"\0"])) + data[end:]
    return data
