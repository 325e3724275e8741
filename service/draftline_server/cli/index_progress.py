"""Wait for the builds of indexes and statistics, with a progress bar on a terminal."""

from __future__ import annotations

from draftline import Client, Collection, IndexState, StatisticState
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.status import Status

from .terminal_text import TerminalConsole


def put_status(*, validate_only: bool) -> Status:
    """Return the spinner to show on a terminal while a spec is put: the service waits for short builds."""
    return TerminalConsole(stderr=True).status("checking the spec" if validate_only else "building the indexes")


def wait_until_built(client: Client, collection: str, timeout_s: float | None) -> Collection:
    """Return the collection once its indexes and statistics are built.

    Raises DeadlineExceededError after `timeout_s` seconds; the build continues.
    """
    console = TerminalConsole(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("building the indexes and statistics", total=1.0)

        def show(found: Collection) -> None:
            states = [*(each.state for each in found.indexes), *(each.state for each in found.statistics)]
            ready = sum(state not in (IndexState.BUILDING, StatisticState.BUILDING) for state in states)
            description = f"building the indexes and statistics: {ready} of {len(states)} are ready"
            progress.update(task, description=description, completed=found.build_progress)

        return client.wait_until_built(collection, on_progress=show, timeout=timeout_s)
