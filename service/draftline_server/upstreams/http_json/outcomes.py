"""The outcome of a write for the response of an API."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from draftline.upstreams import (
    Applied,
    Create,
    Delete,
    Exists,
    FieldProblem,
    Gone,
    NotTaken,
    Outcome,
    Refused,
    RemoteRecord,
    Stale,
    Unknown,
    WriteItem,
)

from ..http_client import Response
from .representation import Representation
from .requests import Requests, retry_after_s

# What the API says about the request and not about the record: an error of the configuration, or of the credentials.
NOT_ABOUT_A_RECORD = frozenset({401, 403, 405, 406, 407, 411, 414, 415, 421, 426, 431, 501, 505})


class Outcomes:
    """Maps responses of one resource to outcomes."""

    def __init__(self, representation: Representation, requests: Requests) -> None:
        self._representation = representation
        self._requests = requests

    def outcome(self, item: WriteItem, response: Response, body: Any, wrapped: bool = True) -> Outcome:
        """Return the outcome of one item.

        `body` is the decoded body, or the result of an item of a batch (`wrapped` is then False). Raises an
        UpstreamError if the response says nothing about the record; nothing was applied then.
        """
        status = response.status
        if status in NOT_ABOUT_A_RECORD or 300 <= status < 400 or (status == 404 and isinstance(item.write, Create)):
            raise self._requests.error(response)
        if status == 202 or status in (408, 499) or status >= 500:
            return Unknown(f"status {status}", retry_after_s(response))
        if 200 <= status < 300:
            return self._applied(item, response, body, wrapped)
        if status in (404, 410):
            return Applied(item.remote_id) if isinstance(item.write, Delete) else Gone()
        if status in (425, 429):
            return NotTaken(f"status {status}", retry_after_s(response))
        if status == 424:  # Failed Dependency (RFC 4918): another item of the batch was not applied
            return Refused("ABORTED", "another item of the batch was not applied")
        if status in (409, 412):
            return self._conflict(item, status, body, self._record(response, body, wrapped))
        return self.hidden(self._representation.refused(status, body))

    def _applied(self, item: WriteItem, response: Response, body: Any, wrapped: bool) -> Outcome:
        etag = response.headers.get("etag", "")
        record = self._record(response, body, wrapped)
        if isinstance(item.write, Delete):
            return Applied(item.remote_id)
        if record is not None and record.remote_id == (item.remote_id or record.remote_id):
            return Applied(record.remote_id, record.remote_version, record)
        if not isinstance(item.write, Create):
            return Applied(item.remote_id, etag if not self._representation.resource.version else "")
        if location := response.headers.get("location", ""):
            return Applied(unquote(urlsplit(location).path.rstrip("/").rpartition("/")[2]), etag)
        return Unknown("the response to the creation has neither the record nor a Location")

    def _conflict(self, item: WriteItem, status: int, body: Any, record: RemoteRecord | None) -> Outcome:
        resource = self._representation.resource
        if not isinstance(item.write, Create):
            return Stale(record if record is not None and record.remote_id == item.remote_id else None)
        if record is not None and item.record_id == (record.record_id if resource.reference else record.remote_id):
            return Exists(record)
        is_put = resource.create is not None and resource.create.method == "PUT"
        if is_put or (resource.unique_reference and status == 409):
            return Exists()
        if resource.idempotency_keys_s and item.repeat:  # the first request with the key is still being processed
            return Unknown(f"status {status}")
        return self.hidden(self._representation.refused(status, body))

    def _record(self, response: Response, body: Any, wrapped: bool) -> RemoteRecord | None:
        read = self._representation.record_in if wrapped else self._representation.record
        try:
            return read(body, response.headers.get("etag", "")) if body is not None else None
        except ValueError:
            return None

    def hidden(self, refused: Refused) -> Refused:
        """Return the outcome without any credential that the API repeated."""
        hide = self._requests.without_secrets
        fields = tuple(FieldProblem(each.path, hide(each.message)) for each in refused.fields)
        return Refused(hide(refused.reason), hide(refused.message), fields)
