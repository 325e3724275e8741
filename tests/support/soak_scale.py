"""How long the tests are that could go on for as long as one likes: short in the suite, long in `make soak`."""

from __future__ import annotations

import os
from typing import TypeVar

N = TypeVar("N", int, float)

IS_SOAK = bool(os.environ.get("DRAFTLINE_SOAK"))


def length(name: str, suite: N, *, soak: N) -> N:
    """Of what is called so; DRAFTLINE_<name> sets it apart from the others."""
    given = os.environ.get(f"DRAFTLINE_{name}")
    return type(suite)(given) if given else soak if IS_SOAK else suite
