"""Messages of a rehearsal while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`step` is called with what is going on, `notice` with what the operator must know later, such as a name."""

    step: Callable[[str], None] = lambda _: None
    notice: Callable[[str], None] = lambda _: None
