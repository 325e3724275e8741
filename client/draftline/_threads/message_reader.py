"""Read the messages of a watch's stream, with a limit on the time without a message."""

from __future__ import annotations

from typing import Any

import grpc

from draftline._core.status import error_of_call
from draftline._threads.watchdog_timer import WatchdogTimer
from draftline.errors import UnavailableError
from draftline.v1 import change_pb2 as pb

# The exceptions of a read after which its stream must be replaced. KeyboardInterrupt is one: the
# interrupted read may have taken a message from the stream.
READ_FAILURES: type[BaseException] = BaseException


class MessageReader:
    """The current stream of a watch."""

    def __init__(self, silence_s: float) -> None:
        self._stream: Any = None
        self._watchdog = WatchdogTimer(silence_s, self.cancel)

    @property
    def is_connected(self) -> bool:
        return self._stream is not None

    def connect(self, stream: Any) -> None:
        self._stream = stream

    def read(self) -> pb.WatchChangesResponse:
        """Return the next message of the stream.

        Raises:
            DraftlineError: the stream ended or failed, or no message came for `silence_s` seconds.
        """
        try:
            with self._watchdog:
                message: pb.WatchChangesResponse = next(self._stream)
        except StopIteration:
            raise UnavailableError(grpc.StatusCode.UNAVAILABLE, "the stream ended") from None
        except grpc.RpcError as failure:
            raise error_of_call(failure) from failure
        return message

    def cancel(self) -> None:
        """Cancel the stream, which ends a read that waits."""
        stream = self._stream
        if stream is not None:
            stream.cancel()

    def disconnect(self) -> None:
        """Cancel the stream and forget it."""
        self.cancel()
        self._stream = None

    def close(self) -> None:
        """Cancel the stream permanently, and stop the watchdog's thread."""
        self._watchdog.stop()
        self.cancel()
