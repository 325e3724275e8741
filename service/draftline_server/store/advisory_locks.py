"""The keys of all advisory locks. Statements bind them, so that no number is used twice."""

from __future__ import annotations

from enum import IntEnum


class AdvisoryLock(IntEnum):
    """Locks of the whole database, for work that one process does at a time."""

    MIGRATION = 7_236_835_712
    CHANGE_LOG_MAINTENANCE = 7_236_835_714
    DRAFT_CHECK = 7_236_835_715
    STATISTICS = 7_236_835_716
    ORDER_ENTRIES = 7_236_835_717
    SERVICE = 7_236_835_718  # shared by every running service; an incompatible migration takes it exclusively
    TALLIES = 7_236_835_719
    TENANT_USAGE = 7_236_835_720
    REHEARSAL = 7_236_835_730
    PARTITIONS = 7_236_835_721


class LockFamily(IntEnum):
    """Locks of one collection or tenant: the first of two keys, of which the second is mostly a hash of the name."""

    COLLECTION_SPEC = 723_683_571
    TENANT_INDEXES = 723_683_572
    ORDER_BUILD = 723_683_573
    SERVICE_REVISION = 723_683_574  # shared by every running service; the second key is the revision that it needs
    REFERENCES = (
        723_683_575  # of a share of the ids of a collection: shared by writes that name them, exclusive for deletions
    )
