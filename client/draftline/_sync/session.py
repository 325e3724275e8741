# Generated from draftline/_async/session.py by `make generate`; never edited.
"""A session."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from draftline._core.session_drafts import SessionDrafts
from draftline.errors import DraftlineError, DraftNotFoundError, DraftVersionMismatchError
from draftline.models import (
    UNSET,
    CommitResult,
    DraftEdit,
    MergedRecord,
    MergeStrategy,
    Results,
    SaveResult,
    StrategyName,
    Unset,
)
from draftline.operations import Operation

if TYPE_CHECKING:
    from draftline._sync.drafts import DraftMethods


class Session:
    """Drafts that are committed together at the end of a `with` block. Created by `Client.session`.

        with client.session("movies") as session:
            session.edit("m-1", {"Rating": 8.5})
            session.edit("m-1", operations=[op.increment("/Votes")])  # on top of that
            session.create("m-5", {"Title": "Brazil"})
            session.delete("m-4")
        print([(each.record_id, each.changed_fields) for each in session.results][0])  # ('m-1', ('Rating', 'Votes'))

    If the block raises, the drafts are discarded.
    """

    def __init__(
        self, client: DraftMethods, drafts: SessionDrafts, tenant_id: str | None, timeout: float | Unset | None
    ) -> None:
        self._client = client
        self._drafts = drafts
        self._tenant_id = tenant_id
        self._timeout = timeout

    @property
    def session_id(self) -> str:
        """The label of the session's drafts, by which they can be listed, committed and discarded."""
        return self._drafts.session_id

    @property
    def results(self) -> Results[CommitResult]:
        """The results of the final commit, with its `commit_id`; empty before the commit."""
        return self._drafts.results

    def edit(
        self,
        record_id: str,
        delta: Mapping[str, Any] | None = None,
        *,
        operations: Iterable[Operation] | None = None,
        strategy: MergeStrategy | StrategyName | None = None,
        depth: int = 0,
        expected_draft_version: int | None = None,
        base_version: int | None = None,
        parent_id: str | Unset | None = UNSET,
        position: int | Unset | None = UNSET,
        allow_deleted: bool = False,
    ) -> MergedRecord | None:
        """Draft a change and return the merged record. The arguments are those of `save_draft`.

        Raises:
            DraftVersionMismatchError: the user has a draft of the record that this session did not
                create. Pass its version as `expected_draft_version` to take it over, whichever
                session it belongs to.
        """
        return self._save_one(
            DraftEdit(
                record_id,
                delta,
                operations=operations,
                strategy=strategy,
                depth=depth,
                expected_draft_version=expected_draft_version,
                base_version=base_version,
                parent_id=parent_id,
                position=position,
                allow_deleted=allow_deleted,
            )
        )

    def create(self, record_id: str, content: Mapping[str, Any]) -> MergedRecord | None:
        """Draft a new record."""
        return self._save_one(DraftEdit(record_id, create=content))

    def delete(self, record_id: str) -> MergedRecord | None:
        """Draft the deletion of a record. Return None if the record existed only as a draft of this session."""
        return self._save_one(DraftEdit(record_id, delete=True))

    def save(self, edits: Iterable[DraftEdit]) -> list[SaveResult]:
        """Draft 1 to 1,000 edits of different records, all or none."""
        edits = list(edits) if isinstance(edits, Iterator) else edits
        sent = self._drafts.expecting(edits)
        try:
            results = self._client.save_drafts(
                self._drafts.collection,
                sent,
                session_id=self.session_id,
                move_to_session=self._drafts.takes_over(edits),
                change_reason=self._drafts.change_reason,
                tenant_id=self._tenant_id,
                timeout=self._timeout,
            )
        except DraftlineError as error:
            self._drafts.note_error(sent, error)
            raise
        self._drafts.note(sent, results)
        return results

    def _save_one(self, edit: DraftEdit) -> MergedRecord | None:
        (result,) = self.save([edit])
        return result.unwrap()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._commit()
        elif self._drafts.may_have_drafts:
            with suppress(Exception):  # the exception of the block must not be masked
                self._discard()

    def _discard(self) -> None:
        """Discard the drafts of the session, but not earlier ones of its label, nor those that other calls changed."""
        if not self._drafts.is_label_shared:
            self._client.discard(
                self._drafts.collection, session_id=self.session_id, tenant_id=self._tenant_id, timeout=self._timeout
            )
            return
        while left := self._drafts.discarded():
            try:
                self._client.discard(
                    self._drafts.collection, record_ids=left, tenant_id=self._tenant_id, timeout=self._timeout
                )
            except (DraftNotFoundError, DraftVersionMismatchError) as error:
                self._drafts.versions.pop(error.record_id)
            else:
                break

    def _commit(self) -> None:
        if self._drafts.versions:
            self._drafts.results = self._client.commit(
                self._drafts.collection,
                record_ids=self._drafts.versions,
                conflict_policy=self._drafts.conflict_policy,
                tenant_id=self._tenant_id,
                timeout=self._timeout,
            )
