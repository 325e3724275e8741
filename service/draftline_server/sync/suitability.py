"""The capabilities without which a sync is not run."""

from __future__ import annotations

from draftline.upstreams import Capabilities

from ..domain.sync import BoundCollection
from ..store.sync.progress import SyncWork
from .push import SuspendedError


def refuse_unsuitable(bound: BoundCollection, capabilities: Capabilities, work: SyncWork) -> None:
    """Raise SuspendedError for an upstream with which writes could be lost, doubled or overwritten."""
    if not capabilities.lookups:
        raise SuspendedError("UNSUITABLE", f"the upstream cannot look up records of {bound.collection!r} by their ids")
    repeats_safely = capabilities.idempotency_keys_s or capabilities.conditional_writes
    if work.spec.push and not repeats_safely and not work.spec.accept_overwrites:
        raise SuspendedError(
            "UNSUITABLE",
            f"the upstream has neither idempotency keys nor conditional writes for {bound.collection!r}: a repeated "
            "write could overwrite a later change of others; set accept_overwrites if that is acceptable",
        )
