"""Texts without the characters that control a terminal."""

from __future__ import annotations

import re

# Control characters, of which terminals carry some out as commands, and those that change the order of what follows.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Return a text with control characters as escapes; lines and tabs stay."""
    return _INVISIBLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def visible_json(text: str) -> str:
    """Return a JSON text with the control characters of its strings as escapes, so that it stays the same JSON.

    JSON requires escapes only of those up to U+001F.
    """
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
