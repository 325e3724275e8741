"""Warnings about fields that a collection does not seem to have."""

from __future__ import annotations

import warnings
from typing import Any

from draftline.errors import UnknownFieldWarning
from draftline.models import FieldWarning

FieldWarnings = tuple[FieldWarning, ...]


def field_warnings_of(response: Any) -> FieldWarnings:
    """Return the warnings of a response."""
    return tuple(FieldWarning(each.argument, each.name, each.suggestion, each.message) for each in response.warnings)


def warn_of_fields(response: Any) -> None:
    """Issue an UnknownFieldWarning for each warning of a response."""
    for each in response.warnings:
        warnings.warn(f"{each.argument}: {each.message}", UnknownFieldWarning, stacklevel=2)
