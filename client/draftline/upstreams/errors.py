"""Errors of a whole request to a system."""

from __future__ import annotations

from .writes import Refused


class UpstreamError(Exception):
    """A fault of the system or of the way to it. Nothing of the request was applied. No record is to blame."""


class ThrottledError(UpstreamError):
    """The system limits the rate. `after_s` is the time to wait before any other request, if it was given."""

    def __init__(self, message: str = "the upstream limits the rate", after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class UnreachableError(UpstreamError):
    """The request was not sent, or a read failed: no connection, a timeout of a read, a status of 500 or more."""


class UnauthorizedError(UpstreamError):
    """The system rejects the credentials, or does not permit the request."""


class BatchRefusedError(UpstreamError):
    """The system refused the batch as a whole and named no item. The caller halves it to find the item.

    `refused` is the outcome of the item if the batch has only one.
    """

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class CursorExpiredError(UpstreamError):
    """The system does not know the cursor any more. A snapshot must be read instead."""
