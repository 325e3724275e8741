"""The turns of a sync's collections: one that fails does not keep the others from theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from draftline.upstreams import ThrottledError, UnauthorizedError, UpstreamError

from ..domain.errors import DraftlineError

T = TypeVar("T")


class Turns:
    """Runs work for each collection, beginning with another one after an error."""

    def __init__(self) -> None:
        self._first = 0

    async def run(
        self,
        collections: Sequence[T],
        work: Callable[[T], Awaitable[None]],
        failed_one: Callable[[T, Exception], Awaitable[None]],
    ) -> None:
        """Run `work` for every collection, and raise the first error afterwards. `failed_one` gets all of them.

        Errors that concern all collections end the round: rejected credentials, and a limit of requests.
        """
        failed: Exception | None = None
        for index in range(len(collections)):
            each = collections[(self._first + index) % len(collections)]
            try:
                await work(each)
            except (ThrottledError, UnauthorizedError):
                self._first += index + 1
                raise
            except (UpstreamError, DraftlineError) as error:
                failed = failed or error
                await failed_one(each, error)
        if failed is not None:
            self._first += 1
            raise failed
