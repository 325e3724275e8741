"""Apply a patch's change to a content in the service instead of the database."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from ..domain.content import Json, Limits
from ..domain.edits import apply_delta, apply_operations
from ..domain.records import Delta, Operations, Patch

_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def edited(change: Delta | Operations | None, content: Json, limits: Limits) -> Json:
    """Return the content with the change applied. Raises the errors of `apply_operations`."""
    match change:
        case Delta(text, strategy, depth):
            return apply_delta(content, _decode(text), strategy, depth)
        case Operations(steps):
            return apply_operations(content, steps, limits)
        case None:
            return content


def where_of(patch: Patch) -> str:
    """Return the field of the request that an error of the merged content is about."""
    return "operations" if isinstance(patch.change, Operations) else "delta"
