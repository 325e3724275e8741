"""The walk through every call, on a collection of films."""

from __future__ import annotations

from draftline import Client
from rich.console import Console  # noqa: TID251 - commands make it
from rich.syntax import Syntax

from . import changes as demo_changes
from . import content as demo_content
from . import drafts as demo_drafts
from . import results as demo_results
from . import sync as demo_sync

STEPS = (*demo_content.STEPS, *demo_drafts.STEPS, *demo_changes.STEPS, *demo_sync.STEPS)


def walk(ada: Client, bob: Client, console: Console) -> None:
    """Run every step and print its result. An unexpected error of a step is raised."""
    clients = {"client": ada, "ada": ada, "bob": bob}
    for number, each in enumerate(STEPS, 1):
        console.rule(f"[bold]{number} of {len(STEPS)} · {each.rpc}", align="left")
        console.print(each.title, style="italic", markup=False)
        console.print(Syntax(each.code, "python", background_color="default", word_wrap=True))
        console.print(demo_results.shown(each.outcome(clients)))
        console.print()
    console.print(f"Done: {len(STEPS)} calls. All data have been removed.")
