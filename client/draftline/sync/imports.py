"""The import of ContentService, blocking."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc

from draftline import content_calls
from draftline.errors import DraftlineError
from draftline.imports import ImportCall, RecordLike, import_messages, max_message_bytes, may_repeat
from draftline.models import ImportMode, ImportResult
from draftline.retries import Attempts
from draftline.status import error_of_call
from draftline.sync.feed import Feed
from draftline.sync.transport import Transport
from draftline.v1 import content_pb2


class ImportMethods(Transport):
    def import_content(
        self,
        collection: str,
        records: Iterable[RecordLike],
        *,
        mode: ImportMode | str = ImportMode.UPSERT,
        allow_empty: bool = False,
        change_reason: str = "",
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | None = None,
    ) -> ImportResult:
        """Loads any number of records in one transaction, reading them as they are sent.

            client.import_content("movies", ((row["id"], row) for row in rows))

        If `records` raises, nothing is imported and that error is raised on. The client's
        default timeout does not apply: an import takes as long as it takes.

        While the service is unavailable, a list, a tuple or another collection is sent again.
        Anything else, a generator say, can be read once only, so its import is sent once. If
        that fails with `UnavailableError`, it may have been done: import the same records again
        with the same `request_id`, which then imports them once.

        Args:
            records: pairs of id and content, or `ImportRecord`s; an id at most once.
            mode: "upsert", or "snapshot", which deletes what `records` does not hold.
            allow_empty: lets a snapshot without a record delete the whole collection.

        Raises:
            InvalidArgumentError: a record breaks a rule; nothing is imported. `record_index`, `record_id`
                and `source` say which.
            ValueError, TypeError: a record cannot be sent; the message begins with its `source` or index.
            FailedPreconditionError: an empty snapshot without `allow_empty`.
        """
        call = content_calls.import_content(
            self._tenant(tenant_id),
            collection,
            mode=mode,
            allow_empty=allow_empty,
            change_reason=change_reason,
            request_id=request_id,
        )
        is_repeatable = may_repeat(call, records)
        attempts = self._attempts(timeout, may_repeat=is_repeatable, may_renew=is_repeatable)
        while True:
            self._check_open()
            try:
                return self._import(call, records, attempts)
            except DraftlineError as error:
                self._pause(attempts, error)

    def _import(self, call: ImportCall, records: Iterable[RecordLike], attempts: Attempts) -> ImportResult:
        rpc, metadata = self._rpc(self._channel.stream_unary, call.method), self._metadata()
        feed: Feed[content_pb2.ImportContentRequest] = Feed()
        sending: Any = rpc.future(feed, timeout=attempts.left_s(), metadata=metadata)
        sending.add_done_callback(lambda _: feed.close())
        try:
            for message in import_messages(call.request, records, max_message_bytes(self._options)):
                if not feed.put(message):
                    break
            else:
                feed.end()
            return call.method.parse(_outcome(sending))
        finally:
            # Whatever went wrong, the caller's records or this thread: nothing is imported.
            # Of no effect on a call that is over. The feed must close after the call, not
            # before, for its end would tell the service that the records are complete.
            sending.cancel()
            feed.close()


def _outcome(sending: Any) -> Any:
    try:
        return sending.result()
    except grpc.RpcError as failure:
        raise error_of_call(failure) from failure
