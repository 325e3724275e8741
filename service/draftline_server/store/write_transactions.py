"""Transactions of writes, retried while they race other calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from ..domain.records import Actor
from .collections.cache import CollectionSpecs
from .database import Database
from .driver_errors import UnsettledError
from .transaction import Transaction

T = TypeVar("T")

SETTLE_POLL_S = 0.02  # between two attempts of a transaction that waits for older ones to end


class WriteTransactions:
    """Runs the write of a call, and whatever else has to be stored with it, in one transaction."""

    def __init__(self, database: Database, specs: CollectionSpecs) -> None:
        self._database = database
        self._specs = specs

    async def run(
        self, actor: Actor, work: Callable[[Transaction], Awaitable[T]], collections: Collection[str] = ()
    ) -> T:
        """Run `work` in a transaction and commit it.

        The transaction is rolled back and `work` runs again if it races another call, or if it used an outdated spec
        of `collections`. So `work` must have no side effects outside the transaction. Raises ContentionError if every
        attempt fails that way.
        """
        idempotent = actor.request is not None

        async def attempt() -> T:
            return await self._database.transact(work, idempotent=idempotent)

        while True:
            try:
                return await self._specs.retry_if_stale(actor.tenant_id, collections, attempt)
            except UnsettledError:
                await asyncio.sleep(SETTLE_POLL_S)
