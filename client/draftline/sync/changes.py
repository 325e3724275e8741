"""The methods of ChangeService, blocking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from draftline import change_calls
from draftline.change_calls import ChangeLike
from draftline.change_models import Change, MergedChange, RevertResult
from draftline.draft_models import ConflictPolicy
from draftline.models import UNSET, Results, Unset
from draftline.sync.transport import Transport
from draftline.sync.watch import Watch
from draftline.watching import DEFAULT_SILENCE_S


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
        """Iterates over the change log, the newest first: who changed what, when and why.

            for each in client.changes("movies", "m-1"):
                print(each.version, each.user_id, [path.path for path in each.paths])
            mine = client.changes(filter='user_id = "ada" AND create_time >= "2026-11-01T00:00:00Z"')

        Pages are fetched as the iteration needs them, each with its own timeout and retries.

        Args:
            collection: of this one alone; None: of all.
            record_id: of this record alone; then `collection` must be given.
            filter: which (AIP-160), by `collection`, `record_id`, `version`, `kind`, `source`, `user_id`,
                `session_id`, `commit_id`, `change_reason`, `request_id` and `create_time`.
            order_by: "create_time": the oldest first.
            page_size: how many are fetched at a time; 0: 100; at most 1,000.
            omit_values: leaves the values out of `paths`, which is then much shorter.

        Raises:
            InvalidFilterError: the filter does not parse; it tells the position.
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
        conflict_policy: ConflictPolicy | str = ConflictPolicy.REJECT,
        validate_only: bool = False,
        allow_partial: bool = False,
        include_content: bool = False,
        fields: Iterable[str] = (),
        change_reason: str = "",
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | Unset | None = UNSET,
    ) -> Results[RevertResult]:
        """Takes one change back, or all of a commit, as new changes in one transaction.

            client.revert(next(client.changes("movies", "m-1")))
            client.revert(commit_id=client.commit("movies", all=True).commit_id, change_reason="too early")

        What was changed since at other paths stays as it is. The results are in the order of
        collections and record ids, and their `commit_id` is what takes the revert itself back.

        Args:
            change: one of `changes` or `watch`, or its collection, record id and version.
            commit_id: of a batch, an import, a commit or a revert, of at most 10,000 changes.
            conflict_policy: where the same paths were changed again since: "reject" (the
                default), "keep_mine" restores the values before the change, "keep_theirs"
                leaves those that are there, and takes the rest back.
            validate_only: answers exactly what would be written, but writes nothing.
            allow_partial: each record on its own; those in conflict stay as they are.
            include_content: answers the content of each record; a preview always does.
            fields: the top-level keys of that content; empty: all.
            change_reason: why, in your words, up to 1,000 characters.

        Raises:
            ConflictError: paths were changed again since, and the policy is "reject".
            NotFoundError: there is no such change, or it is older than the log.
            HistoryNotKeptError: the log did not keep the values.
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
        """Watches changes: each once, and those of a record in the order of its versions.

            with client.watch("movies", filter="kind = DELETE") as watch:
                for change in watch:
                    print(change.record_id, "is gone")

        It has no timeout, and goes on by itself when its connection breaks off.

        Args:
            collection: of this one alone; None: of all.
            filter: which, as in `changes`.
            resume_token: goes on after that of an earlier watch with the same arguments; empty: from now on.
            omit_values: leaves the values out of `paths`.
            silence_s: seconds without a sign of life, which comes every 15 unless the service
                is set otherwise, after which it takes its connection for dead.

        Raises, when it begins or while it goes on:
            TokenExpiredError: it was away for longer than the log is kept.
            InvalidFilterError: the filter does not parse.
        """
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
        """Watches what `get_merged` lists: records as you see them, with your drafts applied.

            for record_id, record in client.watch_merged("movies", filter='"Major Genre" = "Drama"'):
                print(record_id, "is gone" if record is None else record.content)

        A record comes whenever it may look different, as it is when it is sent: changes in
        quick succession may come as one, and one may come twice.

        Args:
            filter: which, by merged values, as in `get_merged`; a record that does not satisfy
                it, or no longer does, comes as None.
            fields: the top-level keys of the content wanted; empty: all.

        The other arguments, and the errors, are those of `watch`.
        """
        call = change_calls.watch_merged(
            self._tenant(tenant_id), collection, filter=filter, resume_token=resume_token, fields=fields
        )
        return Watch(self, call, silence_s)
