# Generated from draftline/_async/watch.py by `make generate`; never edited.
"""A watch on changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Generic

from draftline._core.arguments import checked_duration
from draftline._core.watch_state import ItemT, WatchCall, WatchState
from draftline._sync.transport import Transport
from draftline._threads.message_reader import READ_FAILURES, MessageReader
from draftline.errors import DraftlineError
from draftline.v1 import change_pb2 as pb


class Watch(Generic[ItemT]):
    """An iterator over changes. Created by `Client.watch` and `Client.watch_merged`.

        with client.watch("movies") as watch:  # sees every change from here on
            for change in watch:
                print(change.record_id, change.version, change.user_id)

    The watch starts at the `with` block, at `ready`, or at the first item. A connection that
    breaks, or delivers nothing for `silence_s` seconds, is replaced by one that resumes after the
    last item, for as long as necessary: each item is delivered once, those of a record in order.

    Iterate in one thread. An interrupted wait for an item loses no item. `close` may be
    called from any thread and ends the iteration, as does closing the client.
    """

    def __init__(
        self,
        client: Transport,
        call: WatchCall[ItemT],
        silence_s: float,
        on_lost: Callable[[], object] | None = None,
    ) -> None:
        self._client = client
        self._call = call
        self._state = WatchState(client._parsing(call), client._retry, may_renew=client._may_renew)
        self._on_lost = on_lost
        self._closed = threading.Event()
        self._reader = MessageReader(checked_duration("silence_s", silence_s))

    @property
    def resume_token(self) -> str:
        """The token to resume from in another process: it covers every delivered item.

        Store it after processing an item. If that item was not the last of its message, the
        token is that of the previous message, and some items are delivered again: a change is
        identified by its collection, record and version.
        """
        return self._state.resume_token

    def ready(self) -> None:
        """Wait until the watch is established: everything that happens afterwards will be delivered.

        Raises:
            UnavailableError: the service is unreachable after as many attempts as any call makes.
            TokenExpiredError: the given resume token is older than the log.
        """
        while not self._state.is_ready and not self._is_over():
            self._receive()

    def messages(self) -> Iterator[list[ItemT]]:
        """Iterate over messages instead: yield the items of each as a list, which is empty for a heartbeat.

            with client.watch("movies") as watch:
                for changes in watch.messages():
                    print([change.record_id for change in changes], watch.resume_token)

        Use this to store `resume_token` in the same transaction as the processed items.
        """
        while not self._is_over():
            if not self._state.has_items:
                self._receive()
            if not self._is_over():
                yield self._state.pop_items()

    def close(self) -> None:
        """Cancel the stream and end the iteration. May be called twice."""
        self._closed.set()
        self._reader.close()
        self._client._reconnect_wait.wake()

    def __enter__(self) -> Watch[ItemT]:
        try:
            self.ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Watch[ItemT]:
        return self

    def __next__(self) -> ItemT:
        while not self._is_over():
            if self._state.has_items:
                return self._state.pop_item()
            self._receive()
        raise StopIteration

    def _is_over(self) -> bool:
        return self._closed.is_set() or self._client._is_closed

    def _receive(self) -> None:
        """Receive one message, reconnecting as often as necessary; return without one if the watch ends."""
        while not self._is_over():
            try:
                self._state.accept(self._next())
            except READ_FAILURES as error:
                self._disconnect()  # the next connection requests whatever was lost with this one
                if isinstance(error, Exception) and self._is_over():
                    return
                pause_s = self._state.pause_s(error) if isinstance(error, DraftlineError) else None
                if pause_s is None:
                    raise
                self._client._reconnect_wait.wait(pause_s, self._closed)
            else:
                return

    def _next(self) -> pb.WatchChangesResponse:
        if not self._reader.is_connected:
            self._reader.connect(self._client._connect(self._call.method, self._state.request()))
            if self._closed.is_set():  # `close` ran before the reader had this stream
                self._reader.cancel()
        return self._reader.read()

    def _disconnect(self) -> None:
        self._reader.disconnect()
        if self._on_lost is not None:
            self._on_lost()
