"""The scale of the tests in tests/soak: short in `make test`, long in `make soak`."""

from __future__ import annotations

import os
from typing import TypeVar

N = TypeVar("N", int, float)

IS_SOAK = bool(os.environ.get("DRAFTLINE_SOAK"))


def length(name: str, suite: N, *, soak: N) -> N:
    """Return `suite`, or `soak` in a soak run; the environment variable DRAFTLINE_<name> overrides both."""
    override = os.environ.get(f"DRAFTLINE_{name}")
    if override:
        return type(suite)(override)
    return soak if IS_SOAK else suite


def text(name: str) -> str:
    """Return the environment variable DRAFTLINE_<name>; empty if it is not set."""
    return os.environ.get(f"DRAFTLINE_{name}", "")


def examples(usual: int) -> int:
    """Return how many examples a property test tries: a quarter of `usual`, or five times as many in a soak run."""
    return 5 * usual if IS_SOAK else (usual + 3) // 4
