"""Counters of the effects of calls on drafts and records, derived from responses.

A stored response that is returned to a repeated request is not counted again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..domain.errors import ConflictError
from .telemetry import Telemetry


def _saved(telemetry: Telemetry, response: Any) -> None:
    telemetry.drafts["saved"] += sum(not result.status.code for result in response.results)


def _committed(telemetry: Telemetry, response: Any) -> None:
    telemetry.drafts["committed"] += sum(not result.status.code for result in response.results)
    telemetry.conflicts += sum(len(result.conflicts) for result in response.results)


def _discarded(telemetry: Telemetry, response: Any) -> None:
    telemetry.drafts["discarded"] += len(response.records)


def _imported(telemetry: Telemetry, response: Any) -> None:
    for outcome in telemetry.imported:
        telemetry.imported[outcome] += getattr(response, f"{outcome}_count")


OUTCOME_COUNTERS: Mapping[str, Callable[[Telemetry, Any], None]] = {
    "draftline.v1.DraftService.SaveDraft": _saved,
    "draftline.v1.DraftService.Commit": _committed,
    "draftline.v1.DraftService.Discard": _discarded,
    "draftline.v1.ContentService.ImportContent": _imported,
}


def count_outcomes(method: str, behavior: Any, telemetry: Telemetry) -> Any:
    """Wrap the behavior of a method to count its outcomes, if there are any to count. Previews are not counted."""
    count = OUTCOME_COUNTERS.get(method)
    if count is None:
        return behavior

    async def counted(request: Any, *rest: Any) -> Any:
        is_preview = getattr(request, "validate_only", False)
        try:
            response = await behavior(request, *rest)
        except ConflictError as error:
            telemetry.conflicts += 0 if is_preview else len(error.conflicts)
            raise
        if not is_preview:
            count(telemetry, response)
        return response

    return counted
