"""The methods of DraftService but for the lists, blocking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from draftline import draft_calls
from draftline.draft_calls import RecordIds
from draftline.draft_models import CommitResult, ConflictPolicy, DraftEdit, MergedRecord, Resolution, SaveResult
from draftline.errors import ConflictError
from draftline.models import UNSET, MergeStrategy, Results, Unset
from draftline.op import Operation
from draftline.sessions import SessionDrafts
from draftline.sync.session import Session
from draftline.sync.transport import Transport


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
        strategy: MergeStrategy | str | None = None,
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
        """Saves one edit as a draft, which nobody else sees. It is composed onto your draft of the record.

            client.save_draft("movies", "m-1", {"Major Genre": "Drama"}, session_id="evening")
            client.save_draft("movies", "m-2", operations=[op.union("/Tags", ["classic"])])
            client.save_draft("movies", "m-3", create={"Title": "Alien"})
            client.save_draft("movies", "m-4", delete=True)
            client.save_draft("movies", "m-2", parent_id="shelf", position=3)

        Returns the record as you now see it. None: a creation that was drafted and is deleted again.

        Args:
            delta: changes the record: merged into it by `strategy`, as in `patch_content`.
            operations: changes it by operations instead, but for `test`; see `draftline.op`.
            create: the content of a new record.
            delete: deletes the record.
            strategy: "shallow" (the default), "deep", "merge_patch" or "replace".
            depth: for "deep": how many levels of objects are merged; 0: all.
            expected_draft_version: the version that your draft must have; 0: there must be none.
            base_version: the version of the record that you looked at; earlier conflicts of what the edit
                sets are over. None: any.
            replace: takes the place of your draft instead of being composed onto it.
            parent_id: the record's parent, alone or with a change or a creation; None: no parent.
            position: its place among its siblings; None: no place.
            allow_deleted: the edit may bring a deleted record back: `create` with new content, a change with
                what it held.
            session_id: a label of your choosing, to commit or discard drafts together. A draft belongs to
                the session of its first save.
            move_to_session: moves your draft, whole, into `session_id` if it belongs to another session.
            change_reason: why, in your words, up to 1,000 characters.
            fields: the top-level keys of the content wanted back; empty: all.

        Raises:
            NotFoundError: a change of a record that is not there.
            AlreadyExistsError: a creation of one that is.
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
        return self._call(call, timeout)[0].unwrap()

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
        """Saves 1 to 1,000 edits of different records: all or none, or with `allow_partial` each on its own.

            client.save_drafts("movies", [DraftEdit("m-1", {"Rating": 9}), DraftEdit("m-2", delete=True)])

        The results are in the order of the edits.

        Args:
            omit_content: leaves the merged contents out of the answer, which is then much shorter.

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
        conflict_policy: ConflictPolicy | str = ConflictPolicy.REJECT,
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
        """Writes drafts of yours into the baseline, in one transaction. One of the first three says which.

            client.commit("movies", session_id="evening")
            client.commit("movies", record_ids={"m-1": 3})  # if the draft is at version 3 still
            preview = client.commit("movies", all=True, validate_only=True, allow_partial=True)

        What others changed meanwhile at other paths stays as they changed it. The results
        are in the order of the record ids, and their `commit_id` is what `revert` takes back.
        Their `selected_count` tells how many drafts there were: 0 if the session has none.

        Args:
            session_id: the drafts of this session.
            record_ids: the drafts of these records; a dict has the draft version that each
                must have, or None.
            all: every draft of the collection.
            conflict_policy: "reject" (the default), "keep_mine" or "keep_theirs".
            validate_only: answers exactly what would be written, but writes nothing.
            allow_partial: each draft on its own; those in conflict stay drafts.
            include_content: answers the content of each record; a preview always does.
            fields: the top-level keys of that content; empty: all.
            change_reason: why, in your words; empty: the reason that each draft was saved with.
            resolutions: what a person decided of conflicts, one by one, as `Conflict.resolve` makes them; the
                policy decides the others:

                try:
                    client.commit("movies", all=True)
                except draftline.ConflictError as error:
                    for conflict in error.conflicts:
                        conflict.resolve("theirs")
                    client.commit("movies", all=True, resolutions=error.resolutions)

        Raises:
            ConflictError: drafts disagree with the baseline where nobody decided, and the policy is "reject".
            DraftNotFoundError: you have no draft of a record that was named.
            DraftVersionMismatchError: a draft is at another version.
        """
        decided = list(resolutions)
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
        fields: Iterable[str] = (),
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Results[MergedRecord]:
        """Drops drafts of yours, selected as by `commit`; the baseline stays as it is.

            client.save_draft("movies", "m-1", {"Rating": 1}, session_id="evening")
            dropped = client.discard("movies", session_id="evening")
            print([each.record_id for each in dropped])  # ['m-1']

        Returns the records as you saw them with the drafts, without their content unless
        `include_content` is set, and in `selected_count` how many drafts there were.

        Raises:
            DraftNotFoundError, DraftVersionMismatchError: as `commit`.
        """
        call = draft_calls.discard(
            self._tenant(tenant_id),
            collection,
            session_id=session_id,
            record_ids=record_ids,
            all=all,
            validate_only=validate_only,
            include_content=include_content,
            fields=fields,
            request_id=request_id,
        )
        return self._call(call, timeout)

    def session(
        self,
        collection: str,
        *,
        session_id: str | None = None,
        change_reason: str = "",
        conflict_policy: ConflictPolicy | str = ConflictPolicy.REJECT,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Session:
        """Edits that are committed together: saved as drafts, committed at the end of the block.

            with client.session("movies", change_reason="spring cleaning") as session:
                session.edit("m-1", {"Major Genre": "Drama"})
                session.delete("m-2")
            print(session.results)

        If the block raises, the drafts are discarded and its exception goes on. If the
        commit raises (`ConflictError`, say), the drafts stay: look at the conflicts, then
        `commit` with another policy or `discard`, by `session.session_id`.

        A session leaves your other drafts alone: a record that you have a draft of already
        is refused with `DraftVersionMismatchError`.

        Args:
            session_id: the label of the drafts; None: a fresh one.
        """
        drafts = SessionDrafts(collection, change_reason=change_reason, conflict_policy=ConflictPolicy(conflict_policy))
        if session_id is not None:
            drafts.session_id = session_id
        return Session(self, drafts, tenant_id, timeout)
