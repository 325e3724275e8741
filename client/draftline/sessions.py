"""The part of a session that does no I/O: which drafts are its own, at which versions.

Invariant: a session touches no draft that it did not make. Its first edit of a record
expects that the caller has no draft of it, each later one the version that the one
before made, and a commit names those versions. So an earlier draft of the same user is
neither committed nor discarded along, and what another process changed meanwhile is
an error and not a surprise.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from draftline.draft_models import CommitResult, ConflictPolicy, DraftEdit, SaveResult
from draftline.models import Results


@dataclass
class SessionDrafts:
    """What a session knows of its drafts.

    Attributes:
        results: what the commit at its end did; empty before.
    """

    collection: str
    session_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    change_reason: str = ""
    conflict_policy: ConflictPolicy | str = ConflictPolicy.REJECT
    versions: dict[str, int] = field(default_factory=dict)
    results: Results[CommitResult] = field(default_factory=lambda: Results([], ""))
    may_have_drafts: bool = False

    def expecting(self, edits: Iterable[DraftEdit]) -> list[DraftEdit]:
        """The edits, each with the draft version that the session expects where it names none."""
        self.may_have_drafts = True
        return [
            replace(edit, expected_draft_version=self.versions.get(edit.record_id, 0))
            if edit.expected_draft_version is None
            else edit
            for edit in edits
        ]

    def takes_over(self, edits: Iterable[DraftEdit]) -> bool:
        """Whether an edit names the version of a draft that may belong to another session."""
        return any(edit.expected_draft_version for edit in edits)

    def note(self, edits: Sequence[DraftEdit], results: Sequence[SaveResult]) -> None:
        """Remembers the versions that were made; a creation that is deleted again leaves no draft."""
        for edit, result in zip(edits, results, strict=True):
            if result.record is not None:
                self.versions[edit.record_id] = result.record.draft_version
            else:
                self.versions.pop(edit.record_id, None)
