"""The story of `draftline demo --sync`: a sync with a toy system of record, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from draftline import Client, MergedRecord
from draftline.documents import encode
from rich.console import Console  # noqa: TID251 - commands make it

from .toy_system import toy_module

WAIT_S = 30.0
POLL_S = 0.05
COLLECTION = "sync-parts"


@contextmanager
def toy_system() -> Iterator[tuple[Any, int]]:
    """Run the toy system of record of the examples. Yield the system, and its port for gRPC."""
    module = toy_module()
    system = module.System()
    running = module.Running(system)
    try:
        yield system, running.grpc_port
    finally:
        running.stop()


class Story:
    """The steps, in order. Each prints what it does and the state that follows, and fails if that is another one."""

    def __init__(self, client: Client, system: Any, console: Console) -> None:
        self._client = client
        self._system = system
        self._console = console

    def tell(self) -> None:
        """Take every step."""
        steps = (self.commits_go_out, self.edits_come_in, self.conflict_is_held, self.refusal_is_one_record)
        for number, step in enumerate(steps, 1):
            self._console.rule(f"[bold]{number} of {len(steps)}", align="left")
            self._console.print(step.__doc__, style="italic", markup=False)
            step()
            self._console.print()
        self._console.print(f"Done: {len(steps)} steps. All data have been removed.")

    def commits_go_out(self) -> None:
        """A commit is sent to the system of record."""
        client = self._client
        client.put_sync("pems", "toy", [COLLECTION], pull_interval_s=1)
        client.create_content(COLLECTION, {"rate": 1, "note": "new"}, record_id="p-1")
        self._commit({"rate": 2})
        self._show("committed here")
        self._wait(lambda: self._there() == {"rate": 2, "note": "new"} and self._is_synced())
        self._show("acknowledged there")

    def edits_come_in(self) -> None:
        """An edit there is merged here, by path: a field that changed here meanwhile keeps its value."""
        self._pause()
        self._edit_there(note="checked")
        self._commit({"rate": 3})
        self._show("changed on both sides")
        self._client.resume_sync("pems")
        self._wait(lambda: self._there() == self._here() == {"rate": 3, "note": "checked"} and self._is_synced())
        self._show("merged, and sent")

    def conflict_is_held(self) -> None:
        """Both sides change one field: nothing is overwritten until a person decides."""
        self._pause()
        self._edit_there(rate=7)
        self._commit({"rate": 5})
        self._client.resume_sync("pems")
        self._wait(lambda: bool(self._conflicts()))
        (conflict,) = self._conflicts()
        self._line(
            "in conflict",
            f"{conflict.path} was {encode(conflict.base)}, is {encode(conflict.mine)} here and "
            f"{encode(conflict.theirs)} there",
        )
        self._client.resolve_sync(COLLECTION, "p-1", theirs=["/rate"])
        self._wait(lambda: self._here() == self._there() and not self._conflicts())
        self._show("decided for theirs")

    def refusal_is_one_record(self) -> None:
        """The system refuses a record: it is a SYNC_ERROR with the reason, until it is retried."""
        self._system.rates["refuse"] = 1.0
        self._commit({"rate": -1})
        self._wait(lambda: self._state() == "sync_error")
        sync = self._merged().sync
        self._line("refused", f"{sync.reason if sync else ''}: {sync.message if sync else ''}")
        self._system.rates.clear()
        self._client.retry_sync(COLLECTION, all=True)
        self._wait(lambda: self._here() == self._there() and self._is_synced())
        self._show("retried")

    def _commit(self, edit: dict[str, Any]) -> None:
        self._client.save_draft(COLLECTION, "p-1", edit)
        self._client.commit(COLLECTION, all=True)

    def _pause(self) -> None:
        """Pause the sync, and wait until what a worker has begun has ended."""
        self._client.pause_sync("pems", push=True, pull=True)
        time.sleep(0.2)

    def _edit_there(self, **values: Any) -> None:
        (part,) = self._system.parts.values()
        edits = [(f"/{name}", False, value) for name, value in values.items()]
        self._system.write("update", "", part.id, edits=edits)

    def _merged(self) -> MergedRecord:
        return next(iter(self._client.get_merged(COLLECTION, record_ids=["p-1"])))

    def _state(self) -> str:
        state = self._merged().state
        return state.value if state else ""

    def _is_synced(self) -> bool:
        return self._state() in ("synced", "pristine")  # pristine: the system wrote the last change

    def _conflicts(self) -> list[Any]:
        sync = self._merged().sync
        return list(sync.conflicts) if sync else []

    def _here(self) -> Any:
        return self._merged().content

    def _there(self) -> Any:
        return next((dict(part.content) for part in self._system.parts.values() if not part.deleted), None)

    def _show(self, title: str) -> None:
        self._line(title, f"here {encode(self._here())} ({self._state()}), there {encode(self._there() or {})}")

    def _line(self, title: str, text: str) -> None:
        self._console.print(f"  {title}: {text}", markup=False)

    def _wait(self, is_done: Callable[[], bool]) -> None:
        ends = time.monotonic() + WAIT_S
        while not is_done():
            if time.monotonic() > ends:
                raise TimeoutError(f"the sync did not get to the expected state within {WAIT_S:.0f} s")
            time.sleep(POLL_S)
