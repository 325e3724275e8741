"""The data that undoing each revision of the schema removes, for the question before a downgrade."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

LOSSES: Mapping[str, str] = {
    "0001": "all records and collection specs",
    "0002": "the drafts of all users",
    "0003": "the change log, and the stored idempotency keys",
    "0004": "",
    "0005": "the snapshots and an index of the change log, which becomes slower to read",
    "0006": "drafted increments, unions, subtractions and appends, which become assignments of their current result",
    "0007": "the rejection of mistyped values, and indexes on timestamps, which the old version rebuilds",
    "0008": "drafted parents and positions",
    "0009": "the log entries of purges, and the limits of merged results",
    "0010": "",
    "0011": "the entries of declared orders, which a new upgrade builds again",
    "0012": "the entries of declared orders, which a new upgrade builds again",
    "0013": "",
    "0015": "",
    "0016": "the statistics of collections, and their part of the collection specs",
    "0017": "",
    "0018": "the statistics with a range",
    "0019": "",
    "0020": "",
    "0021": "the relations of collections, as part of the collection specs, and their entries",
    "0022": "the syncs with systems of record: their configuration, and what the upstreams are known to hold",
    "0023": "",
    "0024": "",
    "0025": "the log of switchovers to partitioned tables",
    "0026": "the quotas of single tenants",
    "0027": "",
    "0028": "",
    "0029": "",
    "0030": "",
    "0031": "",
}


def losses_of(revisions: Iterable[str]) -> list[str]:
    """Return what undoing these revisions removes, without repetitions, oldest revision first."""
    losses = (LOSSES.get(each, f"what revision {each} added") for each in sorted(revisions))
    return list(dict.fromkeys(filter(None, losses)))
