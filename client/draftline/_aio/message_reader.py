"""Read the messages of a watch's stream, with a limit on the time without a message."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

from draftline._core.status import error_of_call
from draftline.errors import CallCancelledError, UnavailableError
from draftline.v1 import change_pb2 as pb

# The exceptions of a read after which its stream must be replaced. A cancelled read is not one:
# it goes on, and the next call waits for it.
READ_FAILURES: type[BaseException] = Exception


class MessageReader:
    """The current stream of a watch, and the read that is in progress."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._stream: Any = None
        self._reading: asyncio.Task[Any] | None = None

    @property
    def is_connected(self) -> bool:
        return self._stream is not None

    def connect(self, stream: Any) -> None:
        self._stream = stream

    async def read(self) -> pb.WatchChangesResponse:
        """Return the next message of the stream. If the wait is cancelled, the next call returns that message.

        Raises:
            DraftlineError: the stream ended or failed, or no message came for `silence_s` seconds.
        """
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._stream.read())
        await asyncio.wait({self._reading}, timeout=self._silence_s)
        if not self._reading.done():
            raise UnavailableError(grpc.StatusCode.UNAVAILABLE, f"no message for {self._silence_s:g} seconds")
        reading, self._reading = self._reading, None
        try:
            message = reading.result()
        except asyncio.CancelledError:
            raise CallCancelledError(grpc.StatusCode.CANCELLED, "the stream was cancelled") from None
        except grpc.RpcError as failure:
            raise error_of_call(failure) from failure
        if message is grpc.aio.EOF:
            raise UnavailableError(grpc.StatusCode.UNAVAILABLE, "the stream ended")
        received: pb.WatchChangesResponse = message
        return received

    def cancel(self) -> None:
        """Cancel the stream, which ends a read that waits."""
        if self._reading is not None:
            self._reading.cancel()
        if self._stream is not None:
            self._stream.cancel()

    def disconnect(self) -> None:
        """Cancel the stream and forget it."""
        self.cancel()
        self._stream = self._reading = None

    def close(self) -> None:
        """Cancel the stream permanently."""
        self.cancel()
