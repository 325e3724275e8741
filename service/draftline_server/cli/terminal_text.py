"""Texts that others have stored, as they are printed on a terminal."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.text import Text

# Control characters, of which terminals carry some out as commands, and those that change the order of what follows.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Return a text with control characters as escapes; lines and tabs stay."""
    return _INVISIBLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class ResultConsole(Console):
    """A console that prints the control characters of texts as escapes, so that no stored text controls a terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)
