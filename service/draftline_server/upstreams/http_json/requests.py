"""Requests to a resource: headers, credentials, and the errors that concern the API and not a record."""

from __future__ import annotations

import email.utils
import time
import uuid
from collections.abc import Mapping
from typing import Any

from draftline.upstreams import CursorExpiredError, ThrottledError, UnauthorizedError, UnreachableError

from ..http_client import Authenticator, HttpClient, Response, ResponseLostError, without
from .representation import decode, encode


class Requests:
    """Sends requests with the credentials of an endpoint."""

    def __init__(self, client: HttpClient, auth: Authenticator) -> None:
        self._client = client
        self._auth = auth

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: Any = None,
        *,
        content_type: str = "application/json",
        message_id: str = "",
    ) -> Response:
        """Send a request, again with another token if the first one is rejected, and return the response.

        Raises UnreachableError if it was not sent, ResponseLostError if the response was lost.
        """
        body = b"" if content is None else encode(content)
        sent = {"accept": "application/json", **{name.lower(): value for name, value in headers.items()}}
        if content is not None:
            sent["content-type"] = content_type
        credentials = await self._auth.headers(message_id or str(uuid.uuid4()), body)
        response = await self._client.request(method, url, {**sent, **credentials}, body)
        if response.status == 401 and self._auth.expire():
            credentials = await self._auth.headers(message_id or str(uuid.uuid4()), body)
            response = await self._client.request(method, url, {**sent, **credentials}, body)
        return response

    async def read(self, url: str, headers: Mapping[str, str]) -> Response:
        """Return the response of a GET with status 200, 404 or 410. Raise the error for any other outcome."""
        try:
            response = await self.send("GET", url, headers)
        except ResponseLostError as error:
            raise UnreachableError(str(error)) from None
        if response.status in (200, 404, 410):
            return response
        raise self.error(response)

    async def read_page(self, url: str, headers: Mapping[str, str]) -> tuple[Any, Response]:
        """Return the body of a page. Raise CursorExpiredError for status 410."""
        response = await self.read(url, headers)
        if response.status == 410:
            raise CursorExpiredError("the upstream does not know the cursor any more (status 410)")
        if response.status != 200:
            raise self.error(response)
        try:
            return decode(response.body), response
        except ValueError as error:
            raise UnreachableError(f"the response is not valid: {error}") from None

    def error(self, response: Response) -> Exception:
        """Return the error for a response that says nothing of a record."""
        problem = f"the upstream responded with status {response.status}"
        if response.status in (401, 403):
            return UnauthorizedError(problem)
        after_s = retry_after_s(response)
        if response.status == 429 or (response.status == 503 and after_s is not None):
            return ThrottledError(problem, after_s)
        return UnreachableError(problem)

    def without_secrets(self, text: str) -> str:
        """Return a text of the API in which no credential appears."""
        return without(text, self._auth.secrets())


def retry_after_s(response: Response) -> float | None:
    """Return the seconds of Retry-After, which may be a date (RFC 9110, section 10.2.3); None if there is none."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None
