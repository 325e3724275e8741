"""The steps on the change log: watch changes, list them, and revert one."""

from __future__ import annotations

from typing import Any

from draftline import Client

from .steps import Step, appending_to

STEPS: list[Step] = []
step = appending_to(STEPS)


@step("WatchChanges", by="watch")
def watch(ada: Client, bob: Client) -> Any:
    """Ada watches the films, and receives Bob's change within milliseconds."""
    with ada.watch("movies") as watch:
        bob.patch_content("movies", "aliens-jul-18-1986", {"IMDB Rating": 2.5}, change_reason="too many of them")
        return next(watch)


@step("ListChanges", by="changes")
def history(ada: Client) -> Any:
    """List every change of a film, the newest first, with its author and reason."""
    return list(ada.changes("movies", "aliens-jul-18-1986"))


@step("RevertChange", by="revert")
def revert(ada: Client) -> Any:
    """Revert a change. Later changes by others at other paths would stay."""
    return ada.revert(
        next(ada.changes("movies", "aliens-jul-18-1986")),
        change_reason="not for that",
        include_content=True,
        fields=["IMDB Rating"],
    )
