"""The requests that send batches of attempts, with the limits of requests to the upstream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from draftline.upstreams import (
    BatchRefusedError,
    NotTaken,
    Outcome,
    Refused,
    ThrottledError,
    UnauthorizedError,
    Unknown,
    Upstream,
    UpstreamError,
)

from ..domain.sync import Attempt
from ..store.sync.attempts import Attempts
from .breaker import Breaker, TokenBucket, asked_s
from .conversion import to_item
from .counters import SyncCounters
from .ending import NOT_ANSWERED, NOT_SENT, Ending

ABORTED = "ABORTED"  # the reason of connectors for items that were not applied because of another one


@dataclass(frozen=True, slots=True)
class Link:
    """The upstream of a sync, with the limits of requests to it."""

    upstream: Upstream
    breaker: Breaker
    bucket: TokenBucket
    counters: SyncCounters
    parallel: int = 8
    timeout_s: float = 30.0
    failed: Callable[[str, Exception], Awaitable[None]] | None = None  # gets errors of writes, by collection


class Sender:
    """Sends the attempts of one sync."""

    def __init__(self, link: Link, ending: Ending, attempts: Attempts) -> None:
        self._link = link
        self._ending = ending
        self._attempts = attempts

    async def write(self, collection: str, batch: Sequence[Attempt], *, atomic: bool = False) -> Sequence[Outcome]:
        """Send a batch, and return one outcome for each attempt. Raises UnauthorizedError."""
        link = self._link
        if not await self._ending.allows_request(link.bucket):
            return [NOT_SENT] * len(batch)
        try:
            with link.counters.request("write"):
                async with self._ending.time_limit(link.timeout_s):
                    # Only connectors that claim atomic batches have to know the argument.
                    options = {"atomic": True} if atomic else {}
                    outcomes = await link.upstream.write(collection, [to_item(each) for each in batch], **options)
        except BatchRefusedError as error:
            link.breaker.succeeded()
            if atomic:
                return [error.refused] * len(batch)
            return await self._halved(collection, batch, error.refused)
        except ThrottledError as error:
            link.breaker.failed(asked_s(error.after_s) or 1.0)
            return [NotTaken(str(error), max(asked_s(error.after_s), link.breaker.pause_s()))] * len(batch)
        except UnauthorizedError:
            raise
        except UpstreamError as error:
            link.breaker.failed()
            if link.failed is not None:
                await link.failed(collection, error)
            return [NotTaken(str(error), link.breaker.pause_s())] * len(batch)
        except Exception as error:  # of the connector: the request may have been sent
            if self._ending.has_begun:
                return [NOT_ANSWERED] * len(batch)
            link.breaker.failed()
            return [Unknown(type(error).__name__)] * len(batch)
        if len(outcomes) != len(batch):
            return [Unknown("the connector returned another number of outcomes")] * len(batch)
        await self._note(collection, outcomes)
        return outcomes if atomic else await self._complete(collection, batch, outcomes)

    async def _note(self, collection: str, outcomes: Sequence[Outcome]) -> None:
        """Tell the breaker whether the upstream was reached. If it is again, everything that waits for it is due."""
        breaker = self._link.breaker
        unknown = [each for each in outcomes if isinstance(each, Unknown)]
        if len(unknown) == len(outcomes):
            breaker.failed(max(asked_s(each.after_s) for each in unknown))
        elif throttled := [each.after_s for each in outcomes if isinstance(each, NotTaken)]:
            breaker.failed(max(map(asked_s, throttled)) or 1.0)
        elif breaker.succeeded():
            await self._attempts.hurry(collection)

    async def _halved(self, collection: str, batch: Sequence[Attempt], refused: Refused) -> Sequence[Outcome]:
        """Send the halves of a refused batch, until what is refused is alone."""
        if len(batch) == 1:
            return [refused]
        middle = len(batch) // 2
        first = await self._write_part(collection, batch[:middle])
        return [*first, *await self._write_part(collection, batch[middle:])]

    async def _write_part(self, collection: str, batch: Sequence[Attempt]) -> Sequence[Outcome]:
        """Send a part of a batch, other parts of which may have been applied: their outcomes must not be lost."""
        try:
            return await self.write(collection, batch)
        except UnauthorizedError as error:  # the next request raises it as well
            return [NotTaken(str(error))] * len(batch)

    async def _complete(
        self, collection: str, batch: Sequence[Attempt], outcomes: Sequence[Outcome]
    ) -> Sequence[Outcome]:
        """Send those again that were not applied only because of others, as systems do that apply all or none."""
        aborted = [index for index, each in enumerate(outcomes) if is_aborted(each)]
        if not aborted or len(batch) == 1:
            return outcomes
        if len(aborted) == len(batch):
            return await self._halved(collection, batch, Refused(ABORTED, "the batch was not applied"))
        found = list(outcomes)
        again = await self._write_part(collection, [batch[index] for index in aborted])
        for index, outcome in zip(aborted, again, strict=True):
            found[index] = outcome
        return found


def is_aborted(outcome: Outcome) -> bool:
    """Return whether an item was not applied only because of another one."""
    return isinstance(outcome, Refused) and outcome.reason == ABORTED
