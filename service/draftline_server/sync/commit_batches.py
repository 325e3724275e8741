"""Batches of whole commits: all records of a commit in one atomic batch, or none of them.

A commit waits while one of its records is refused, in conflict or being read, or while the outcome of an earlier write
of one is not known. A record that a later commit changed belongs to that one.

Nothing of a commit is sent once a later commit changed both a record with an attempt for it and one of its records
without: of a part of a batch, the upstream would apply the part if it has not applied the batch. Attempts in doubt end:
updates and deletions are looked up, and creations are sent with new keys, because the upstream recognizes their
reference. Without references they are repeated, because a creation must not be doubled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..domain.sync import Attempt
from ..store.sync.commits import SyncCommits, WaitingCommit

MAX_REPORTED = 1_000  # commits that are remembered as reported


@dataclass(frozen=True, slots=True)
class Batch:
    """Attempts that are sent together; `atomic`: the upstream applies all or none."""

    attempts: Sequence[Attempt]
    atomic: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The batches to send now, the attempts that wait for other records of their commits, and those that end."""

    batches: Sequence[Batch]
    waiting: Sequence[Attempt]
    ended: Sequence[Attempt] = ()


def plain_batches(attempts: Sequence[Attempt], size: int) -> list[Batch]:
    """Return batches of at most `size` attempts."""
    return [Batch(attempts[start : start + size]) for start in range(0, len(attempts), size)]


class CommitBatches:
    """Groups what one sync sends by commit."""

    def __init__(self, commits: SyncCommits) -> None:
        self._commits = commits
        self._reported: set[str] = set()

    async def gather(self, collection: str, record_ids: Sequence[str], size: int, limit: int) -> Sequence[str]:
        """Return due records with all others of their commits, which are made due as well.

        If they are more than `limit`, whole commits are left for later, except the first one.
        """
        commits = await self._commits.waiting(collection, record_ids, size)
        chosen: dict[str, None] = {}
        in_commits: set[str] = set()
        for commit in commits:
            members = set(record_ids) & commit.record_ids if commit.is_large else commit.record_ids
            in_commits |= members
            if not chosen or len(chosen) + len(members) <= limit:
                chosen |= dict.fromkeys(sorted(members))
            if commit.is_large:
                await self._report(collection, commit, size)
        chosen |= dict.fromkeys(each for each in record_ids if each not in in_commits)
        await self._commits.hasten(collection, chosen)
        return list(chosen)

    async def plan(self, collection: str, attempts: Sequence[Attempt], size: int, *, has_references: bool) -> Plan:
        """Return the batches of attempts. A commit is sent only if an attempt of each of its records is given.

        `has_references`: the upstream recognizes a second creation of a record.
        """
        given = {each.record_id: each for each in attempts}
        batches: list[Batch] = []
        alone: list[Attempt] = []
        waiting: list[Attempt] = []
        ended: list[Attempt] = []
        commits = await self._commits.waiting(collection, list(given), size)
        for commit in commits:
            own = commit.record_ids - commit.blocked
            members = [given.pop(record_id) for record_id in sorted(own) if record_id in given]
            in_doubt = [each for each in members if each.in_doubt]
            if commit.is_large:
                batches += plain_batches(members, size)
            elif commit.is_replaced and all(has_references or each.remote_id for each in in_doubt):
                ended += in_doubt
                waiting += [each for each in members if not each.in_doubt]
            elif len(members) < len(commit.record_ids):
                waiting += members
            elif len(members) == 1:
                alone += members
            else:
                batches.append(Batch(members, atomic=True))
        return Plan(batches + plain_batches(alone + list(given.values()), size), waiting, ended)

    async def _report(self, collection: str, commit: WaitingCommit, size: int) -> None:
        if commit.commit_id in self._reported:
            return
        if len(self._reported) >= MAX_REPORTED:
            self._reported.clear()
        self._reported.add(commit.commit_id)
        await self._commits.report_split(collection, commit, size)
