"""Push: send what is due to the upstream of a sync, and store the outcomes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from draftline.upstreams import (
    Applied,
    Capabilities,
    NotTaken,
    Outcome,
    ThrottledError,
    UnauthorizedError,
    UnreachableError,
    UpstreamError,
)

from ..domain.sync import Answer, Attempt, BoundCollection, Effect, MergeResult, Op, Settlement
from ..store.database import Database
from ..store.sync.attempts import Attempts
from ..store.sync.commits import SyncCommits
from ..store.sync.merges import Merges
from ..store.transaction import Transaction
from .commit_batches import Batch, CommitBatches, plain_batches
from .conversion import error_json, to_answer, to_settlement
from .ending import NOT_ANSWERED, NOT_SENT, Ending
from .own_writes import Path, by_policies, normalised_paths
from .sending import ABORTED, Link, Sender

MAX_LOOKED_UP = 100  # records of one look-up
WENT_BACK = "WENT_BACK"  # the upstream has an older version of a record than is known
COMMIT_WAIT = timedelta(seconds=60)  # until a commit is tried again of which a record cannot be sent
COMMIT_WAITS = error_json("COMMIT_WAITS", "another record of the commit is refused, in conflict or being read")


class SuspendedError(Exception):
    """The sync has to stop until a person looks at it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Push:
    """Sends the attempts of one sync."""

    def __init__(self, database: Database, attempts: Attempts, merges: Merges, link: Link) -> None:
        self._database = database
        self._attempts = attempts
        self._merges = merges
        self._link = link
        self._ending = Ending()
        self._sender = Sender(link, self._ending, attempts)
        self._commits = CommitBatches(SyncCommits(database, attempts))

    async def push(self, bound: BoundCollection, capabilities: Capabilities, *, by_commit: bool = False) -> int:
        """Send records of a collection that are due. Return how many there were; raises SuspendedError.

        `by_commit`: send the records of a commit in one atomic batch, if the upstream has such batches.
        If the caller is cancelled, requests that are out may finish for a few seconds, and their outcomes are stored.
        What was not sent is due at once, and so is the repetition of what was not answered.
        """
        by_commit = by_commit and capabilities.atomic_batch and capabilities.max_batch > 1
        return await self._ending.finish(self._push(bound, capabilities, by_commit))

    async def _push(self, bound: BoundCollection, capabilities: Capabilities, by_commit: bool) -> int:
        link, size = self._link, max(1, capabilities.max_batch)
        limit = 1 if link.breaker.is_open else size * link.parallel
        due = await self._attempts.due(bound.collection, limit)
        if not due:
            return 0
        record_ids: Sequence[str] = [record_id for record_id, _ in due]
        if by_commit:
            record_ids = await self._commits.gather(bound.collection, record_ids, size, limit)
        prepared = await self._attempts.prepare(bound, record_ids, 2 * link.timeout_s)
        expired = [each for each in prepared if _has_expired(each, capabilities)]
        if expired:
            await self._settle(bound, [_expired_settlement(each) for each in expired], capabilities)
        sent = [each for each in prepared if each not in expired]
        batches: Sequence[Batch] = plain_batches(sent, size)
        if by_commit:
            has_references = capabilities.client_reference
            plan = await self._commits.plan(bound.collection, sent, size, has_references=has_references)
            batches = plan.batches
            if unsent := [*await self._waiting(plan.waiting), *map(_ended, plan.ended)]:
                await self._settle(bound, unsent, capabilities)
        results = await asyncio.gather(
            *(self._send(bound, capabilities, each) for each in batches), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return len(due)

    async def _waiting(self, attempts: Sequence[Attempt]) -> Sequence[Settlement]:
        next_at = await self._database.now() + COMMIT_WAIT
        return [
            Settlement(each.record_id, each.attempt_id, Effect.NOT_TAKEN, error=COMMIT_WAITS, next_at=next_at)
            for each in attempts
        ]

    async def _send(self, bound: BoundCollection, capabilities: Capabilities, sent: Batch) -> None:
        suspended: SuspendedError | None = None
        batch = sent.attempts
        try:
            outcomes = await self._sender.write(bound.collection, batch, atomic=sent.atomic)
        except UnauthorizedError as error:
            outcomes = [NotTaken(str(error))] * len(batch)
            suspended = SuspendedError("UNAUTHORIZED", str(error))
        now = await self._database.now()
        settlements = [
            _settlement(attempt, outcome, capabilities, now) for attempt, outcome in zip(batch, outcomes, strict=True)
        ]
        if sent.atomic:
            settlements = [
                _aborted(each, attempt, capabilities, now) for each, attempt in zip(settlements, batch, strict=True)
            ]
        stored = _stored(batch, outcomes)
        versions = {each.record_id: each.remote_version for each in settlements if each.remote_version}
        normalised = normalised_paths(batch, stored, versions, capabilities)
        await self._settle(bound, settlements, capabilities, stored, normalised)
        if suspended is not None:
            raise suspended

    async def _settle(
        self,
        bound: BoundCollection,
        settlements: Sequence[Settlement],
        capabilities: Capabilities,
        stored: Mapping[str, Answer] | None = None,
        normalised: Mapping[str, Sequence[Path]] | None = None,
    ) -> None:
        """Store outcomes, and in the same transaction merge the representations that the upstream stored.

        `stored`: these, by record id. A record of which something newer is known since is read again. `normalised`:
        the paths that the upstream stored with another value than was sent, by record id.
        """
        stored = stored or {}
        if stored:
            await self._merges.load_spec(bound.collection)

        async def work(transaction: Transaction) -> Mapping[str, str]:
            if stored:
                await self._merges.hold_declaration(transaction, bound.collection)
            effects, mark = await self._attempts.settle(
                transaction, bound.collection, settlements, is_versioned=capabilities.conditional_writes
            )
            answers = [each for record_id, each in stored.items() if effects.get(record_id) == Effect.APPLIED]
            for policies, group in by_policies(bound.policies, answers, normalised or {}):
                await self._merges.merge_in(
                    transaction, bound, group, mark, is_ordered=capabilities.ordered_versions, keeps_recheck=True,
                    policies=policies,
                )  # fmt: skip
            return effects

        effects = await self._merges.transact(work)
        for each in settlements:
            self._link.counters.pushed(effects.get(each.record_id, "LATE"))

    async def recheck(self, bound: BoundCollection, capabilities: Capabilities) -> int:
        """Read records at the upstream that a pull or an attempt has left open, and merge them.

        Return how many there were. Raises UpstreamError and SuspendedError.
        """
        due = await self._attempts.due(bound.collection, MAX_LOOKED_UP, rechecks=True)
        known = {remote_id: record_id for record_id, remote_id in due if remote_id}
        if unknown := [record_id for record_id, remote_id in due if not remote_id]:
            await self._attempts.drop_rechecks(bound.collection, unknown)
        if known:
            await self.refuse_older(bound, capabilities, known)
        return len(due)

    async def refuse_older(self, bound: BoundCollection, capabilities: Capabilities, known: Mapping[str, str]) -> None:
        """Read records at the upstream and merge them. Raises SuspendedError if one has an older version there."""
        results = await self.look_up(bound, capabilities, known)
        went_back = next((each for each in results if each.deferral == WENT_BACK), None)
        if went_back is not None:
            raise SuspendedError(
                WENT_BACK,
                f"record {went_back.record_id!r} of {bound.collection!r} has an older version at the upstream than "
                "before, as after a restore; resume the sync to continue with what it holds now: records that differ "
                "will be in conflict",
            )

    async def look_up(
        self, bound: BoundCollection, capabilities: Capabilities, known: Mapping[str, str]
    ) -> Sequence[MergeResult]:
        """Read records at the upstream and merge them. `known`: their record ids by remote ids."""
        mark, answers = await self._read(bound, capabilities, known)
        results = await self._merges.merge(bound, answers, mark, is_ordered=capabilities.ordered_versions)
        self._link.counters.merged(results)
        return results

    async def find_deleted(
        self, bound: BoundCollection, capabilities: Capabilities, known: Mapping[str, str]
    ) -> Sequence[Answer]:
        """Return those of the records that the upstream does not have, and change nothing."""
        _, answers = await self._read(bound, capabilities, known)
        return [each for each in answers if each.is_deleted]

    async def _read(
        self, bound: BoundCollection, capabilities: Capabilities, known: Mapping[str, str]
    ) -> tuple[int, Sequence[Answer]]:
        """Look records up; return a mark from before that, and the answers. Raises UpstreamError."""
        link = self._link
        await link.bucket.take()
        mark = await self._merges.mark()
        if capabilities.read_lag_s:
            await asyncio.sleep(capabilities.read_lag_s)  # so that the answer is not older than the mark
        try:
            with link.counters.request("lookup"):
                async with asyncio.timeout(link.timeout_s):
                    found = await link.upstream.lookup(bound.collection, list(known))
        except TimeoutError:
            link.breaker.failed()
            raise UnreachableError("the look-up took too long") from None
        except UpstreamError as error:
            link.breaker.failed(error.after_s if isinstance(error, ThrottledError) else None)
            raise
        except Exception as error:
            link.breaker.failed()
            raise unexpected(error, self._attempts.tenant_id, self._attempts.upstream) from error
        if link.breaker.succeeded():
            await self._attempts.hurry(bound.collection)
        answers = [to_answer(each, known[each.remote_id]) for each in found if each.remote_id in known]
        if {each.remote_id for each in answers} != set(known):
            raise UnreachableError("the look-up did not answer every id")
        return mark, answers


def unexpected(error: Exception, tenant_id: str, upstream: str) -> UnreachableError:
    """Log an error that a connector should not raise in a read, and return the one to raise in its stead."""
    reason = type(error).__name__  # its message may hold content
    structlog.get_logger().warning("sync_failed", tenant_id=tenant_id, upstream=upstream, reason=reason)
    return UnreachableError(f"the connector failed ({reason})")


def _stored(batch: Sequence[Attempt], outcomes: Sequence[Outcome]) -> Mapping[str, Answer]:
    """Return the representations that the upstream returned with its outcomes, by record id.

    One that cannot be stored here is left out: the next read of the record reports it.
    """
    stored = {
        attempt.record_id: to_answer(outcome.stored, attempt.record_id)
        for attempt, outcome in zip(batch, outcomes, strict=True)
        if isinstance(outcome, Applied) and outcome.stored is not None and attempt.op is not Op.DELETE
    }
    return {record_id: answer for record_id, answer in stored.items() if answer.is_storable}


def _settlement(attempt: Attempt, outcome: Outcome, capabilities: Capabilities, now: datetime) -> Settlement:
    """Return what an outcome changes. The next worker continues at once what this one could not end."""
    settlement = to_settlement(attempt, outcome, capabilities, now)
    return replace(settlement, next_at=now) if outcome in (NOT_SENT, NOT_ANSWERED) else settlement


def _aborted(settlement: Settlement, attempt: Attempt, capabilities: Capabilities, now: datetime) -> Settlement:
    """Return what the outcome of an item of an atomic batch changes: it waits if only another item was at fault.

    A repeated creation is dropped like that of the item at fault: the upstream knows its key, so no earlier request was
    applied, and of one that arrives later it knows the reference. Otherwise the creation would be repeated without
    that item after a later commit changed both.
    """
    was_aborted = settlement.effect is Effect.REFUSED and json.loads(settlement.error or "{}").get("reason") == ABORTED
    if not was_aborted or (attempt.in_doubt and attempt.remote_id):  # a look at the record shows what became of it
        return settlement
    is_known = capabilities.idempotency_keys_s > 0 and capabilities.client_reference
    effect = Effect.DROPPED if attempt.op is Op.CREATE and is_known else Effect.NOT_TAKEN
    return replace(settlement, effect=effect, error=COMMIT_WAITS, next_at=now + COMMIT_WAIT)


def _ended(attempt: Attempt) -> Settlement:
    """Return the settlement of an attempt in doubt that is not repeated, because its commit is not whole any more."""
    effect = Effect.READ if attempt.remote_id else Effect.DROPPED
    return Settlement(attempt.record_id, attempt.attempt_id, effect)


def _has_expired(attempt: Attempt, capabilities: Capabilities) -> bool:
    """Return whether a repeat could have a second effect, because the upstream may not know the key any more."""
    if not attempt.in_doubt:
        return False
    is_safe = capabilities.client_reference if attempt.op is Op.CREATE else capabilities.conditional_writes
    return not is_safe and attempt.age_s > 0.9 * capabilities.idempotency_keys_s


def _expired_settlement(attempt: Attempt) -> Settlement:
    problem = error_json(
        "OUTCOME_UNKNOWN", "the response was lost, and the upstream would not recognize a repetition of the write"
    )
    effect = Effect.LOST if attempt.op is Op.CREATE else Effect.READ
    return Settlement(attempt.record_id, attempt.attempt_id, effect, error=problem)
