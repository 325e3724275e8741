"""The ids that a field of a content names, as the SQL function `draftline.related_ids` reads them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...domain.filters.ast import Path

MAX_ID_LENGTH = 128  # characters

# Only texts are decoded: a number may be too long for Python.
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode


def related_ids(content: bytes, path: Path) -> Sequence[str]:
    """Return the ids that the value at a path names: a text, or each text of an array once, in their order."""
    value = content
    for name in path:
        if value[:1] != b"{":
            return ()
        member = _object(value).get(name)
        if member is None:
            return ()
        value = bytes(member)
    if value[:1] == b'"':
        return _valid([_text(value)])
    if value[:1] != b"[":
        return ()
    return _valid(list(dict.fromkeys(_text(each) for each in _array(value) if bytes(each)[:1] == b'"')))


def _valid(ids: Sequence[str]) -> Sequence[str]:
    return [each for each in ids if 0 < len(each) <= MAX_ID_LENGTH]
