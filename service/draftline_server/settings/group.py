"""A group of settings."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Group(BaseModel):
    """Settings of one area.

    The environment variable of a field is DRAFTLINE_, `prefix` and the name of the field in upper case; `names` has the
    exceptions, without DRAFTLINE_.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)
    prefix: ClassVar[str] = ""
    names: ClassVar[dict[str, str]] = {}
