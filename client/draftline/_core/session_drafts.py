"""The I/O-free part of a session: its drafts and their versions.

Invariant: a session does not touch a draft that it did not create. Its first edit of a record
expects that the caller has no draft of it, each later edit expects the version that the
previous one created, and a commit names those versions. Therefore an earlier draft of the
same user is neither committed nor discarded with the session, and a concurrent change by
another process raises an error.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import grpc

from draftline._core.arguments import checked, checked_value
from draftline.errors import DraftlineError
from draftline.models import CommitResult, ConflictPolicy, DraftEdit, Results, SaveResult

# A call that ends with one of these has written nothing, nor has an earlier attempt of it.
_NOT_WRITTEN = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
}


@dataclass
class SessionDrafts:
    """The state of a session.

    Attributes:
        results: the results of the final commit; empty before it.
    """

    collection: str
    session_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    change_reason: str = ""
    conflict_policy: ConflictPolicy = ConflictPolicy.REJECT
    versions: dict[str, int] = field(default_factory=dict)
    results: Results[CommitResult] = field(default_factory=lambda: Results([], ""))
    may_have_drafts: bool = False
    is_label_shared: bool = False  # other drafts may have the session's id, because the caller chose it
    _unconfirmed: Counter[str] = field(default_factory=Counter)  # by record, the saves whose outcome is not known

    def expecting(self, edits: Iterable[DraftEdit]) -> list[DraftEdit]:
        """Return the edits, with the draft version that the session expects filled in where it is not given."""
        edits = checked_value("edits", edits, Iterable[DraftEdit])
        self.may_have_drafts = True
        self._unconfirmed.update(edit.record_id for edit in edits)
        return [
            replace(edit, expected_draft_version=self.versions.get(edit.record_id, 0))
            if edit.expected_draft_version is None
            else edit
            for edit in edits
        ]

    def takes_over(self, edits: Iterable[DraftEdit]) -> bool:
        """Return True if an edit names the version of a draft that may belong to another session."""
        return any(edit.expected_draft_version for edit in edits)

    def note(self, edits: Sequence[DraftEdit], results: Sequence[SaveResult]) -> None:
        """Record the new draft versions; a deleted creation leaves no draft."""
        for edit, result in zip(edits, results, strict=True):
            self._unconfirmed.pop(edit.record_id, None)
            if result.record is not None:
                self.versions[edit.record_id] = result.record.draft_version
            else:
                self.versions.pop(edit.record_id, None)

    def note_error(self, edits: Sequence[DraftEdit], error: DraftlineError) -> None:
        """Record that edits were refused; the outcome of a call that failed otherwise is not known."""
        if error.code in _NOT_WRITTEN:
            self._unconfirmed -= Counter(edit.record_id for edit in edits)  # keeps those of earlier saves

    def discarded(self) -> dict[str, int | None]:
        """Return the records whose drafts to discard, with the version that each must have; None: any."""
        return {
            record_id: None if record_id in self._unconfirmed else version
            for record_id, version in self.versions.items()
        }


@checked
def new_session(
    collection: str, *, session_id: str | None, change_reason: str, conflict_policy: ConflictPolicy | str
) -> SessionDrafts:
    """Return the state of a session before its first edit. Raise TypeError or ValueError for a wrong argument."""
    drafts = SessionDrafts(collection, change_reason=change_reason, conflict_policy=ConflictPolicy(conflict_policy))
    if session_id is not None:
        drafts.session_id, drafts.is_label_shared = session_id, True
    return drafts
