"""Responses that are stored in the transaction of their write, so that a repeated call gets the same one (AIP-155)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from google.protobuf.message import Message

from ..domain.records import Actor
from ..store.idempotency import Requests, store_response
from ..store.transaction import Transaction
from ..store.write_transactions import WriteTransactions

M = TypeVar("M", bound=Message)


class StoredResponses:
    """Runs the writes of calls and stores their responses; a call without a request id stores none."""

    def __init__(self, transactions: WriteTransactions, requests: Requests) -> None:
        self._transactions = transactions
        self._requests = requests

    async def write(
        self,
        actor: Actor,
        work: Callable[[Transaction], Awaitable[M]],
        *,
        collections: Collection[str] = (),
        validate_only: bool = False,
    ) -> M:
        """Run `work` in a transaction, store the response that it returns, and commit both.

        `work` may run several times; see WriteTransactions.run. `validate_only`: roll back and store nothing.
        """

        async def respond(transaction: Transaction) -> M:
            response = await work(transaction)
            if validate_only:
                transaction.mark_rollback_only()
            else:
                await self.store(transaction, actor, response)
            return response

        return await self._transactions.run(actor, respond, collections)

    @staticmethod
    async def store(transaction: Transaction, actor: Actor, response: Message) -> None:
        """Store a response in the transaction of its write."""
        if actor.request is not None:
            await store_response(transaction, actor, response.SerializeToString())

    async def store_unwritten(self, actor: Actor, response: Message) -> None:
        """Store the response of a call that had nothing to write."""
        if actor.request is not None:
            await self._requests.store(actor, response.SerializeToString())

    async def finish(self, actor: Actor, response: Message) -> None:
        """Store the response of a call that went on after its write."""
        if actor.request is not None:
            await self._requests.finish(actor, response.SerializeToString())
