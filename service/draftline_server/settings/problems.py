"""The ranges of settings, and sentences about invalid ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import ValidationError

from .variables import ENVIRONMENT, GROUPS, SETTINGS, Setting, renamed_settings

KINDS = {int: "an integer", float: "a number", bool: "true or false"}
MAX_SHOWN = 100  # characters of a value in a sentence


def range_of(setting: Setting) -> str:
    """Return the range of a number, such as `1 to 256`, `≥ 1` or `> 0`; empty for other settings."""
    bounds = {type(each): each for each in setting.info.metadata}
    lowest, highest = bounds.get(Ge), bounds.get(Le)
    if lowest is not None:
        return f"{lowest.ge} to {highest.le}" if highest is not None else f"≥ {lowest.ge}"
    return f"> {bounds[Gt].gt}" if Gt in bounds else ""


def problems_of(error: ValidationError, sources: Mapping[str, str]) -> list[str]:
    """Return a sentence for each invalid setting, which begins with its name unless it concerns several settings.

    `sources` says where each setting comes from; a sentence names a source other than the environment.
    """
    return [_sentence(problem) + _source(problem, sources) for problem in error.errors(include_url=False)]


def _setting(problem: Any) -> Setting | None:
    return next((each for each in SETTINGS.values() if problem["loc"] == (each.group, each.field)), None)


def _source(problem: Any, sources: Mapping[str, str]) -> str:
    setting = _setting(problem)
    source = "" if setting is None else sources.get(setting.name, "")
    return f" (from {'a flag' if source == 'flag' else source})" if source not in ("", ENVIRONMENT) else ""


def _sentence(problem: Any) -> str:
    location, message = problem["loc"], problem["msg"].removeprefix("Value error, ")
    setting = _setting(problem)
    if setting is None:
        return f"{'.'.join(map(str, location))}: {message}" if location and location[0] not in GROUPS else message
    former = next((old for old, new in renamed_settings().items() if new == setting.name), "")
    name = f"{setting.name} (set as {former})" if former else setting.name
    kind = _kind(setting)
    if kind and problem["type"] != "value_error":
        allowed = range_of(setting)
        limits = f" in the range {allowed}" if allowed else ""
        return f"{name}: {str(problem['input'])[:MAX_SHOWN]!r} is not {kind}{limits}"
    return f"{name}: {'must not be empty' if problem['type'] == 'string_too_short' else message}"


def _kind(setting: Setting) -> str:
    """Return the kind of value that the setting takes; empty for text, which may be secret and is not shown."""
    for annotation in get_args(setting.info.annotation) or (setting.info.annotation,):
        if annotation in KINDS:
            return KINDS[annotation]
    if get_origin(setting.info.annotation) is Literal:
        *others, last = get_args(setting.info.annotation)
        return f"{', '.join(others)} or {last}"
    return ""
