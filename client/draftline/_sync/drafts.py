# Generated from draftline/_async/drafts.py by `make generate`; never edited.
"""The methods of DraftService, except the lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from draftline._core import draft_calls
from draftline._core.arguments import check_timeout, checked_value
from draftline._core.draft_calls import RecordIds
from draftline._core.session_drafts import new_session
from draftline._sync.session import Session
from draftline._sync.transport import Transport
from draftline.errors import ConflictError
from draftline.models import (
    UNSET,
    CommitResult,
    ConflictPolicy,
    ConflictPolicyName,
    DraftEdit,
    DraftUser,
    MergedRecord,
    MergeStrategy,
    Resolution,
    Results,
    SaveResult,
    StrategyName,
    Unset,
)
from draftline.operations import Operation


class DraftMethods(Transport):
    def save_draft(
        self,
        collection: str,
        record_id: str,
        delta: Mapping[str, Any] | None = None,
        *,
        operations: Iterable[Operation] | None = None,
        create: Mapping[str, Any] | None = None,
        delete: bool = False,
        strategy: MergeStrategy | StrategyName | None = None,
        depth: int = 0,
        expected_draft_version: int | None = None,
        base_version: int | None = None,
        replace: bool = False,
        parent_id: str | Unset | None = UNSET,
        position: int | Unset | None = UNSET,
        allow_deleted: bool = False,
        session_id: str = "",
        move_to_session: bool = False,
        change_reason: str = "",
        fields: Iterable[str] = (),
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> MergedRecord | None:
        """Save an edit as a draft, visible only to the caller, on top of the caller's existing draft of the record.

            client.save_draft("movies", "m-1", {"Major Genre": "Drama"}, session_id="evening")
            client.save_draft("movies", "m-2", operations=[op.union("/Tags", ["classic"])])
            client.save_draft("movies", "m-3", create={"Title": "Alien"})
            client.save_draft("movies", "m-4", delete=True)
            client.save_draft("movies", "m-2", parent_id="shelf", position=3)

        Returns the record with the caller's draft applied. None: the edit deleted a record that existed
        only as a draft.

        Args:
            delta: changes the record: merged into its content according to `strategy`, as in `patch_content`.
            operations: changes the record by operations instead, except `test`; see `draftline.op`.
            create: the content of a new record.
            delete: deletes the record.
            strategy: "shallow" (the default), "deep", "merge_patch" or "replace".
            depth: for "deep": the number of object levels to merge; 0: all.
            expected_draft_version: the version that your draft must have; 0: there must be none.
            base_version: the version of the record that the edit is based on; it resolves earlier conflicts
                at the paths that the edit sets. None: any.
            replace: replaces your existing draft instead of adding to it.
            parent_id: the record's parent, alone or with a change or a creation; None: no parent.
            position: its position among its siblings; None: no position.
            allow_deleted: the edit may restore a deleted record: `create` with new content, a change with
                its old content.
            session_id: a label of your choice, to commit or discard drafts together. A draft belongs to
                the session of its first save.
            move_to_session: moves your whole draft into `session_id` if it belongs to another session.
            change_reason: the reason for the edit, up to 1,000 characters.
            fields: the top-level keys of the content to return; empty: all.

        Raises:
            NotFoundError: the edit changes a record that does not exist.
            AlreadyExistsError: the edit creates a record that exists.
            DraftVersionMismatchError: your draft is not at `expected_draft_version`.
            VersionMismatchError: the record is not at `base_version`.
            DraftInOtherSessionError: your draft belongs to another session, or to none, and
                `move_to_session` is not set.
            DraftDeletesRecordError: your draft deletes the record.
        """
        edit = DraftEdit(
            record_id,
            delta,
            operations=operations,
            create=create,
            delete=delete,
            strategy=strategy,
            depth=depth,
            expected_draft_version=expected_draft_version,
            base_version=base_version,
            replace=replace,
            parent_id=parent_id,
            position=position,
            allow_deleted=allow_deleted,
        )
        call = draft_calls.save_draft(
            self._tenant(tenant_id),
            collection,
            [edit],
            session_id=session_id,
            move_to_session=move_to_session,
            change_reason=change_reason,
            allow_partial=False,
            omit_content=False,
            fields=fields,
            request_id=request_id,
        )
        (result,) = self._call(call, timeout)
        return result.unwrap()

    def save_drafts(
        self,
        collection: str,
        edits: Iterable[DraftEdit],
        *,
        session_id: str = "",
        move_to_session: bool = False,
        change_reason: str = "",
        allow_partial: bool = False,
        omit_content: bool = False,
        fields: Iterable[str] = (),
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> list[SaveResult]:
        """Save 1 to 1,000 edits of different records: all or none, or each independently with `allow_partial`.

            client.save_drafts("movies", [DraftEdit("m-1", {"Rating": 9}), DraftEdit("m-2", delete=True)])

        The results are in the order of the edits.

        Args:
            omit_content: omits the merged contents from the response, which makes it much smaller.

        Raises:
            DraftlineError: without `allow_partial`, the error of an edit that failed, as
                `save_draft` raises it.
        """
        call = draft_calls.save_draft(
            self._tenant(tenant_id),
            collection,
            edits,
            session_id=session_id,
            move_to_session=move_to_session,
            change_reason=change_reason,
            allow_partial=allow_partial,
            omit_content=omit_content,
            fields=fields,
            request_id=request_id,
        )
        return self._call(call, timeout)

    def commit(
        self,
        collection: str,
        *,
        session_id: str | None = None,
        record_ids: RecordIds | None = None,
        all: bool = False,
        conflict_policy: ConflictPolicy | ConflictPolicyName = ConflictPolicy.REJECT,
        validate_only: bool = False,
        allow_partial: bool = False,
        include_content: bool = False,
        fields: Iterable[str] = (),
        change_reason: str = "",
        resolutions: Iterable[Resolution] = (),
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Results[CommitResult]:
        """Write the caller's drafts into the baseline in one transaction; exactly one of the first three selects them.

            client.commit("movies", session_id="evening")
            client.commit("movies", record_ids={"m-1": 3})  # if the draft is at version 3 still
            preview = client.commit("movies", all=True, validate_only=True, allow_partial=True)

        Changes that others made to other paths are preserved. The results are sorted by record
        id. Pass their `commit_id` to `revert` to undo the commit. Their `selected_count` is the
        number of selected drafts: 0 if the session has none.

        Args:
            session_id: commits the drafts of this session.
            record_ids: commits the drafts of these records; a dict maps each to the draft version
                that it must have, or None.
            all: commits every draft of the collection.
            conflict_policy: "reject" (the default), "keep_mine" or "keep_theirs".
            validate_only: returns exactly what would be written, without writing it.
            allow_partial: commits each draft independently; drafts in conflict stay drafts.
            include_content: returns the content of each record; a preview always does.
            fields: the top-level keys of the content to return; empty: all.
            change_reason: the reason for the commit; empty: the reason that each draft was saved with.
            resolutions: decisions about single conflicts, made by `Conflict.resolve`; the policy decides
                about the others:

                try:
                    client.commit("movies", all=True)
                except draftline.ConflictError as error:
                    for conflict in error.conflicts:
                        conflict.resolve("theirs")
                    client.commit("movies", all=True, resolutions=error.resolutions)

        Raises:
            ConflictError: drafts have unresolved conflicts with the baseline, and the policy is "reject".
            DraftNotFoundError: you have no draft of a named record.
            DraftVersionMismatchError: a draft is not at the given version.
        """
        decided: list[Resolution] = checked_value("resolutions", resolutions, Iterable[Resolution])
        call = draft_calls.commit(
            self._tenant(tenant_id),
            collection,
            session_id=session_id,
            record_ids=record_ids,
            all=all,
            conflict_policy=conflict_policy,
            validate_only=validate_only,
            allow_partial=allow_partial,
            include_content=include_content,
            fields=fields,
            change_reason=change_reason,
            resolutions=decided,
            request_id=request_id,
        )
        try:
            return self._call(call, timeout)
        except ConflictError as error:
            draft_calls.keep_resolutions(error, decided)
            raise

    def discard(
        self,
        collection: str,
        *,
        session_id: str | None = None,
        record_ids: RecordIds | None = None,
        all: bool = False,
        validate_only: bool = False,
        include_content: bool = False,
        draft_user: str = "",
        fields: Iterable[str] = (),
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Results[MergedRecord]:
        """Discard the caller's drafts, selected as in `commit`; the baseline stays unchanged.

        With `draft_user`, the drafts of that user are discarded, which requires `draft:admin`.

            client.save_draft("movies", "m-1", {"Rating": 1}, session_id="evening")
            dropped = client.discard("movies", session_id="evening")
            print([each.record_id for each in dropped])  # ['m-1']

        Returns the records with the discarded drafts applied, without their content unless
        `include_content` is set. `selected_count` is the number of selected drafts.

        Raises:
            DraftNotFoundError, DraftVersionMismatchError: as in `commit`.
        """
        call = draft_calls.discard(
            self._tenant(tenant_id),
            collection,
            session_id=session_id,
            record_ids=record_ids,
            all=all,
            validate_only=validate_only,
            include_content=include_content,
            draft_user=draft_user,
            fields=fields,
            request_id=request_id,
        )
        return self._call(call, timeout)

    def list_draft_users(
        self,
        *,
        collection: str = "",
        page_size: int = 0,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Iterator[DraftUser]:
        """Iterate over the users of the tenant that have drafts, sorted by id, with the number and times of these.

            for user in client.list_draft_users():
                print(user.user_id, user.draft_count, user.oldest_create_time)

        Requires the permission `draft:admin`. Pages are fetched on demand, each with its own timeout and retries.

        Args:
            collection: counts only the drafts of this collection; empty: of all.
            page_size: users per page; 0: 100; at most 1,000.
        """
        call = draft_calls.list_draft_users(self._tenant(tenant_id), collection=collection, page_size=page_size)
        return self._pages(call, timeout)

    def session(
        self,
        collection: str,
        *,
        session_id: str | None = None,
        change_reason: str = "",
        conflict_policy: ConflictPolicy | ConflictPolicyName = ConflictPolicy.REJECT,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Session:
        """Return a context manager that saves edits as drafts and commits them together at the end of its block.

            with client.session("movies", change_reason="spring cleaning") as session:
                session.edit("m-1", {"Major Genre": "Drama"})
                session.delete("m-2")
            print(session.results)

        If the block raises, the drafts are discarded and the exception propagates. If the
        commit raises (for example `ConflictError`), the drafts are retained: inspect the
        conflicts, then `commit` with another policy or `discard`, by `session.session_id`.

        A session does not touch your other drafts, not even those with the same label: an edit of a
        record that you already have a draft of raises `DraftVersionMismatchError`.

        Args:
            session_id: the label of the drafts; None: a new one.
        """
        self._tenant(tenant_id)  # raises an error without one
        if not isinstance(timeout, Unset):
            check_timeout(timeout)
        drafts = new_session(
            collection, session_id=session_id, change_reason=change_reason, conflict_policy=conflict_policy
        )
        return Session(self, drafts, tenant_id, timeout)
