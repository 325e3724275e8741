# Generated from draftline/_async/changes.py by `make generate`; never edited.
"""The methods of ChangeService."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from draftline._core import change_calls
from draftline._core.change_calls import ChangeLike
from draftline._core.watch_state import DEFAULT_SILENCE_S
from draftline._sync.transport import Transport
from draftline._sync.watch import Watch
from draftline.models import (
    UNSET,
    Change,
    ConflictPolicy,
    ConflictPolicyName,
    MergedChange,
    Results,
    RevertResult,
    Unset,
)


class ChangeMethods(Transport):
    def changes(
        self,
        collection: str | None = None,
        record_id: str | None = None,
        *,
        filter: str = "",
        order_by: str = "",
        page_size: int = 0,
        omit_values: bool = False,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Iterator[Change]:
        """Iterate over the change log, newest first: who changed what, when and why.

            for each in client.changes("movies", "m-1"):
                print(each.version, each.user_id, [path.path for path in each.paths])
            mine = client.changes(filter='user_id = "ada" AND create_time >= "2026-11-01T00:00:00Z"')

        Pages are fetched on demand, each with its own timeout and retries.

        Args:
            collection: only changes of this collection; None: of all.
            record_id: only changes of this record; requires `collection`.
            filter: only changes that match (AIP-160), by `collection`, `record_id`, `version`, `kind`, `source`,
                `user_id`, `session_id`, `commit_id`, `change_reason`, `request_id` and `create_time`.
            order_by: "create_time" for oldest first.
            page_size: changes per page; 0: 100; at most 1,000.
            omit_values: omits the values from `paths`, which makes the response much smaller.

        Raises:
            InvalidFilterError: the filter does not parse; the error has the position.
        """
        call = change_calls.list_changes(
            self._tenant(tenant_id),
            collection,
            record_id,
            filter=filter,
            order_by=order_by,
            page_size=page_size,
            omit_values=omit_values,
        )
        return self._pages(call, timeout)

    def revert(
        self,
        change: ChangeLike | None = None,
        *,
        commit_id: str | None = None,
        conflict_policy: ConflictPolicy | ConflictPolicyName = ConflictPolicy.REJECT,
        validate_only: bool = False,
        allow_partial: bool = False,
        include_content: bool = False,
        fields: Iterable[str] = (),
        change_reason: str = "",
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Results[RevertResult]:
        """Revert one change, or all changes of a commit, by writing new changes in one transaction.

            client.revert(next(client.changes("movies", "m-1")))
            committed = client.commit("movies", all=True)
            client.revert(commit_id=committed.commit_id, change_reason="too early")

        Later changes to other paths are preserved. The results are sorted by collection and
        record id. Pass their `commit_id` to `revert` to undo the revert itself.

        Args:
            change: a change from `changes` or `watch`, or its collection, record id and version.
            commit_id: the id of a batch, an import, a commit or a revert with at most 10,000 changes.
            conflict_policy: decides about paths that were changed again since: "reject" (the
                default) fails, "keep_mine" restores the values from before the change,
                "keep_theirs" keeps the current values and reverts the rest.
            validate_only: returns exactly what would be written, without writing it.
            allow_partial: reverts each record independently; records in conflict are left unchanged.
            include_content: returns the content of each record; a preview always does.
            fields: the top-level keys of the content to return; empty: all.
            change_reason: the reason for the revert, up to 1,000 characters.

        Raises:
            ConflictError: paths were changed again since, and the policy is "reject".
            NotFoundError: there is no such change, or it is older than the log's retention period.
            HistoryNotKeptError: the log did not store the values.
        """
        call = change_calls.revert_change(
            self._tenant(tenant_id),
            change,
            commit_id=commit_id,
            conflict_policy=conflict_policy,
            validate_only=validate_only,
            allow_partial=allow_partial,
            include_content=include_content,
            fields=fields,
            change_reason=change_reason,
            request_id=request_id,
        )
        return self._call(call, timeout)

    def watch(
        self,
        collection: str | None = None,
        *,
        filter: str = "",
        resume_token: str = "",
        omit_values: bool = False,
        silence_s: float = DEFAULT_SILENCE_S,
        tenant_id: str | None = None,
    ) -> Watch[Change]:
        """Watch changes: each is delivered once, and those of a record in the order of its versions.

            with client.watch("movies", filter="kind = DELETE") as watch:
                for change in watch:
                    print(change.record_id, "was deleted")

        A watch has no timeout, and resumes by itself when its connection breaks.

        Args:
            collection: only changes of this collection; None: of all.
            filter: only changes that match, as in `changes`.
            resume_token: resumes after this token of an earlier watch with the same arguments;
                empty: starts from now.
            omit_values: omits the values from `paths`.
            silence_s: seconds without a message after which the connection is considered dead. The
                service sends a heartbeat every 15 seconds by default.

        Raises, at the start or during iteration:
            TokenExpiredError: the watch was disconnected for longer than the log is retained.
            InvalidFilterError: the filter does not parse.
        """
        self._check_open()
        call = change_calls.watch_changes(
            self._tenant(tenant_id), collection, filter=filter, resume_token=resume_token, omit_values=omit_values
        )
        return Watch(self, call, silence_s)

    def watch_merged(
        self,
        collection: str,
        *,
        filter: str = "",
        resume_token: str = "",
        fields: Iterable[str] = (),
        silence_s: float = DEFAULT_SILENCE_S,
        tenant_id: str | None = None,
    ) -> Watch[MergedChange]:
        """Watch the records that `get_merged` lists: with the caller's drafts applied.

            for record_id, record in client.watch_merged("movies", filter='"Major Genre" = "Drama"'):
                print(record_id, "was removed" if record is None else record.content)

        A record is delivered whenever it may have changed, in its state at the time of sending:
        changes in quick succession may be delivered as one, and a record may be delivered twice.

        Args:
            filter: only records whose merged values match, as in `get_merged`; a record that does
                not match, or no longer does, is delivered as None. When the watch starts, an
                `UnknownFieldWarning` names each field that the collection does not seem to have.
            fields: the top-level keys of the content to return; empty: all.

        The other arguments, and the errors, are those of `watch`.
        """
        self._check_open()
        call = change_calls.watch_merged(
            self._tenant(tenant_id), collection, filter=filter, resume_token=resume_token, fields=fields
        )
        return Watch(self, call, silence_s)
