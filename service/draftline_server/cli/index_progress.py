"""Show the progress of index builds on a terminal."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from draftline import Client, DraftlineError, IndexState
from rich.console import Console

REFRESH_S = 0.5


@contextmanager
def index_progress(client: Client, collection: str) -> Iterator[None]:
    """Poll and show how many indexes are ready, while the block puts the collection spec."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    over = threading.Event()
    with console.status("building the indexes") as status:

        def follow() -> None:
            while not over.wait(REFRESH_S):
                try:
                    indexes = client.get_collection(collection).indexes
                except DraftlineError:  # PutCollection reports errors
                    continue
                ready = sum(each.state is IndexState.READY for each in indexes)
                status.update(f"building the indexes: {ready} of {len(indexes)} are ready")

        following = threading.Thread(target=follow, name="building")
        following.start()
        try:
            yield
        finally:
            over.set()
            following.join()
