"""Reads of a resource in pages: snapshots, changes, and single records."""

from __future__ import annotations

import asyncio
import email.utils
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from draftline.upstreams import Page, RemoteRecord, UnreachableError

from ..definitions import Paging
from ..http_client import Response
from .representation import Representation, at, decode
from .requests import Requests
from .urls import InvalidUrlError, expand, follow, linked_next


class Token(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A cursor: exactly one position of an API, and the start of a snapshot."""

    url: str = ""  # the next page, or the next read of changes
    value: str | int | None = None  # for {cursor}
    count: int = 0  # of the items before it, if pages are numbered
    start: str = ""  # of a snapshot: the largest `updated` that is certainly before it
    updated: str = ""  # of changes: the largest `updated` that was read

    def text(self) -> str:
        """Return the token as a cursor."""
        return msgspec.json.encode(self).decode()


@dataclass(slots=True)
class _Fetched:
    """A page. `count` is the number of items up to its end."""

    url: str
    response: Response
    body: Any
    items: list[Any]
    count: int
    following: str | None = None


class Reads:
    """Reads of one resource."""

    def __init__(self, base_url: str, representation: Representation, requests: Requests) -> None:
        self._base_url = base_url
        self._representation = representation
        self._resource = representation.resource
        self._requests = requests

    async def snapshot(self, paging: Paging, cursor: str | None) -> AsyncIterator[Page]:
        """Yield the pages of a snapshot, from a cursor or from the beginning."""
        token = _token(cursor)
        url = token.url or expand(self._base_url, paging.url, {"offset": str(paging.offset_start)})
        start, changes = token.start, self._resource.changes
        async for page in self._pages(paging, url, count=token.count):
            if not start and changes is not None and changes.updated:
                start = _start(page.items, page.response, changes.updated)
            records = [each for each in self._records(page.items) if not each.deleted]
            if page.following is not None:
                yield Page(records, Token(url=page.following, count=page.count, start=start).text())
            else:
                yield Page(records, None, self._changes_cursor(paging, page, start))

    def _changes_cursor(self, paging: Paging, page: _Fetched, start: str) -> str | None:
        if paging.delta and (link := at(page.body, paging.delta)) is not None:
            return Token(url=follow(self._base_url, page.url, link)).text()
        if paging.changes_cursor and (value := at(page.body, paging.changes_cursor)) is not None:
            return Token(value=value).text()
        return Token(updated=start).text() if start else None

    async def changes(self, paging: Paging, cursor: str | None) -> AsyncIterator[Page]:
        """Yield the pages of changes after a cursor."""
        token = _token(cursor)
        value = _earlier(token.updated, paging.overlap_s) if token.updated else str(token.value or "")
        values = {"cursor": value, "offset": str(paging.offset_start)}
        url = token.url or expand(self._base_url, paging.url, values)
        position = token
        async for page in self._pages(paging, url, value):
            records = self._records(page.items)
            position = self._position(paging, page, position)
            # The order of items by `updated` is not known, so only the end of such a read is a position.
            is_inside = bool(paging.updated) and page.following is not None
            yield Page(records, (token if is_inside else position).text())

    def _position(self, paging: Paging, page: _Fetched, before: Token) -> Token:
        """Return the position after a page."""
        if paging.updated:
            latest = max([before.updated, *_updated(page.items, paging.updated)], key=_comparable)
            return Token(updated=_not_in_future(latest, page.response))
        if paging.delta and page.following is None and (link := at(page.body, paging.delta)) is not None:
            return Token(url=follow(self._base_url, page.url, link))
        if paging.cursor and (value := at(page.body, paging.cursor)) is not None:
            return Token(value=value)
        return Token(url=page.following) if page.following is not None else before

    async def lookup(self, url_template: str, remote_ids: Sequence[str]) -> Sequence[RemoteRecord]:
        """Return the current state of each record."""
        found = await asyncio.gather(*(self._lookup_one(url_template, each) for each in remote_ids))
        return list(found)

    async def _lookup_one(self, url_template: str, remote_id: str) -> RemoteRecord:
        try:
            url = expand(self._base_url, url_template, {"id": remote_id})
        except InvalidUrlError:
            return RemoteRecord(remote_id=remote_id, deleted=True)
        response = await self._requests.read(url, self._resource.headers)
        if response.status != 200:
            return RemoteRecord(remote_id=remote_id, deleted=True)
        try:
            record = self._representation.record_in(decode(response.body), response.headers.get("etag", ""))
        except ValueError as error:
            raise UnreachableError(f"the response is not valid: {error}") from None
        if record.remote_id != remote_id:
            raise UnreachableError("the response to a read of one record has another id")
        return record

    async def _pages(self, paging: Paging, url: str, cursor: str = "", count: int = 0) -> AsyncIterator[_Fetched]:
        """Yield each page with the URL of the following one. `cursor` stays the same if pages are numbered."""
        following: str | None = url
        seen: set[int] = set()  # hashes of the URLs that were read
        previous: list[Any] = []
        while following is not None:
            seen.add(hash(following))
            body, response = await self._requests.read_page(following, self._resource.headers)
            items = at(body, paging.items)
            if not isinstance(items, list):
                raise UnreachableError(f"the response has no array at {paging.items!r}")
            count += len(items)
            fetched = _Fetched(following, response, body, items, count)
            fetched.following = following = self._following(paging, fetched, cursor)
            if following is not None and hash(following) in seen:
                raise UnreachableError("the link to the next page leads to a page that was read before")
            if paging.offset and items and items == previous:
                raise UnreachableError("two pages have the same items: the upstream ignores the offset")
            previous = items
            yield fetched

    def _following(self, paging: Paging, page: _Fetched, cursor: str) -> str | None:
        if paging.next or paging.link_header:
            link = at(page.body, paging.next) if paging.next else linked_next(page.response.headers.get("link", ""))
            return follow(self._base_url, page.url, link) if link else None
        if paging.cursor:
            value = at(page.body, paging.cursor)
            more = at(page.body, paging.more) if paging.more else bool(page.items)
            return expand(self._base_url, paging.url, {"cursor": str(value)}) if more and value is not None else None
        if paging.offset and page.items:
            return expand(
                self._base_url, paging.url, {"cursor": cursor, "offset": str(paging.offset_start + page.count)}
            )
        return None

    def _records(self, items: list[Any]) -> list[RemoteRecord]:
        try:
            return [self._representation.record(each) for each in items]
        except ValueError as error:
            raise UnreachableError(f"the response is not valid: {error}") from None


def _token(cursor: str | None) -> Token:
    if not cursor:
        return Token()
    try:
        return msgspec.json.decode(cursor, type=Token)
    except msgspec.DecodeError:
        raise UnreachableError("the stored cursor is not one of this connector; start it again by a snapshot") from None


def _updated(items: list[Any], pointer: str) -> list[str]:
    return [str(value) for each in items if isinstance(value := at(each, pointer), str | int | Decimal)]


def _comparable(text: str) -> tuple[int, Any]:
    """Return a key that orders times by time, and numbers by value. A text that is neither comes first."""
    number = _number(text)
    if number is not None:
        return 1, number
    moment = _moment(text)
    return (2, moment) if moment is not None else (0, text)


def _number(text: str) -> Decimal | None:
    return Decimal(text) if text.replace(".", "", 1).isdecimal() and text.isascii() else None


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _earlier(text: str, overlap_s: float) -> str:
    """Return the time or the number (of seconds) that is `overlap_s` earlier, in the same form."""
    number, moment = _number(text), _moment(text)
    if number is not None:
        earlier = max(number - Decimal(repr(overlap_s)), Decimal(0))
        return str(int(earlier)) if "." not in text else format(earlier, "f")
    if moment is None:
        return text
    result = (moment - timedelta(seconds=overlap_s)).isoformat()
    return result.replace("+00:00", "Z") if text.endswith(("Z", "z")) or "+" not in text else result


def _now(response: Response) -> datetime | None:
    """Return the time by the clock of the API; None if the response does not have it."""
    try:
        return email.utils.parsedate_to_datetime(response.headers["date"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        return None


def _not_in_future(text: str, response: Response) -> str:
    """Return a value of `updated`, but no time after the present: items that change from now on would be before it.

    A time without an offset may be the local time of a writer.
    """
    moment, now = None if _number(text) is not None else _moment(text), _now(response)
    if moment is None or now is None:
        return text
    is_local = datetime.fromisoformat(text).tzinfo is None
    latest = now + timedelta(days=1) if is_local else now
    if moment <= latest:
        return text
    return latest.replace(tzinfo=None).isoformat() if is_local else latest.isoformat().replace("+00:00", "Z")


def _start(items: list[Any], response: Response, pointer: str) -> str:
    """Return a value of `updated` that no later change has: by the clock of the API, or else from the first page."""
    seen, now = sorted(_updated(items, pointer), key=_comparable), _now(response)
    if now is not None and seen and _moment(seen[-1]) is not None:
        return now.isoformat().replace("+00:00", "Z")
    return seen[-1] if seen else ""
