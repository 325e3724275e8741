"""The import of ContentService."""

from __future__ import annotations

from draftline._aio.import_stream import Records, send_import
from draftline._async.transport import Transport
from draftline._core import content_calls
from draftline._core.imports import ImportCall, check_records, max_message_bytes, may_repeat
from draftline._core.retries import Attempts
from draftline.errors import DraftlineError
from draftline.models import (
    ImportMode,
    ImportModeName,
    ImportResult,
)


class ImportMethods(Transport):
    async def import_content(
        self,
        collection: str,
        records: Records,
        *,
        mode: ImportMode | ImportModeName = ImportMode.UPSERT,
        allow_empty: bool = False,
        change_reason: str = "",
        request_id: str | None = None,
        tenant_id: str | None = None,
        timeout: float | None = None,
    ) -> ImportResult:
        """Import any number of records in one transaction, reading them as they are sent.

            await client.import_content("movies", ((row["id"], row) for row in rows))

        If iterating over `records` raises, nothing is imported and the error propagates. The
        client's default timeout does not apply; without `timeout`, an import has no limit.

        If the service is unavailable, the import of a list, a tuple or another collection is
        retried. Anything else, such as a generator, can be read only once, so its import is sent
        once. If that fails with `UnavailableError`, the import may have succeeded: repeat it with
        the same records and the same `request_id`, and the records are imported only once.

        Args:
            records: an iterable or asynchronous iterable of pairs of id and content, or of `ImportRecord`s;
                each id at most once.
            mode: "upsert", or "snapshot", which deletes all records that are not in `records`.
            allow_empty: lets a snapshot without records delete the whole collection.

        Raises:
            InvalidArgumentError: a record is invalid; nothing is imported. `record_index`, `record_id`
                and `source` identify it.
            ValueError, TypeError: a record cannot be sent; the message begins with its `source` or index.
            FailedPreconditionError: the snapshot is empty, and `allow_empty` is not set.
        """
        check_records(records)
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
                return await self._import(call, records, attempts)
            except DraftlineError as error:
                await self._pause(attempts, error)

    async def _import(self, call: ImportCall, records: Records, attempts: Attempts) -> ImportResult:
        rpc, metadata = self._rpc(self._channel.stream_unary, call.method), await self._metadata()
        with self._calling():
            response = await send_import(
                rpc,
                call.request,
                records,
                max_message_bytes(self._options),
                timeout_s=attempts.left_s(),
                metadata=metadata,
            )
        return call.method.parse(response)
