"""What the change of a patch makes of a content, where the service merges and not the database."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from ..domain.content import Json, Limits
from ..domain.edits import apply_delta, apply_operations
from ..domain.records import Delta, Operations, Patch

_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def edited(change: Delta | Operations | None, content: Json, limits: Limits) -> Json:
    """Return what a change makes of a content. Raises the errors of operations."""
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
