"""The toy system over HTTP, with JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from draftline import documents

from .system import LostResponseError, Part, RefusedError, System


def shown(part: Part) -> dict[str, Any]:
    known = {"id": part.id, "version": part.version, "reference": part.reference, "deleted": part.deleted}
    return known if part.deleted else {**known, "content": part.content}


class Handler(BaseHTTPRequestHandler):
    """The system over HTTP: /parts, /parts/{id}, /parts/changes?cursor=, and POST /parts:batch."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    system: System

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        cursor = parse_qs(url.query).get("cursor", [""])[0]
        if self._is_throttled():
            return
        if url.path == "/parts":
            parts, after, changes_cursor = self.system.snapshot(cursor)
            following = None if changes_cursor else f"/parts?cursor={after}"
            self._send(200, {"items": list(map(shown, parts)), "next": following, "changes": changes_cursor or None})
        elif url.path == "/parts/changes":
            parts, position = self.system.changes(int(cursor or 0))
            self._send(200, {"items": list(map(shown, parts)), "cursor": str(position), "more": bool(parts)})
        else:
            part = self.system.parts.get(unquote(url.path.removeprefix("/parts/")))
            if part is None or part.deleted:
                self._send(404, {"code": "NOT_FOUND", "message": "there is no such part"})
            else:
                self._send(200, shown(part), part)

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/parts:batch":
            self._deliver(lambda: (200, {"results": [self._batched(each) for each in body["items"]]}, None))
        else:
            created = {"reference": body.get("reference", ""), "content": body.get("content")}
            self._deliver(lambda: self._written(201, "create", self._key, **created))

    def do_PATCH(self) -> None:
        edits = list(merge_edits(self._body()["content"]))
        self._deliver(lambda: self._written(200, "update", self._key, self._id, edits=edits, expected=self._if_match))

    def do_DELETE(self) -> None:
        self._deliver(lambda: self._written(200, "delete", self._key, self._id, expected=self._if_match))

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  the name of the base class
        pass

    @property
    def _key(self) -> str:
        return self.headers.get("idempotency-key", "")

    @property
    def _id(self) -> str:
        return unquote(self.path.removeprefix("/parts/"))

    @property
    def _if_match(self) -> str | None:
        value = self.headers.get("if-match")
        return value.strip('"') if value else None

    def _body(self) -> Any:
        return documents.decode(self.rfile.read(int(self.headers["content-length"])).decode())

    def _written(self, status: int, kind: str, key: str, *arguments: Any, **named: Any) -> tuple[int, Any, Part | None]:
        try:
            part = self.system.write(kind, key, *arguments, **named)
        except RefusedError as refusal:
            return refusal.status, shown(refusal.part) if refusal.part else refusal.error, refusal.part
        return status, shown(part), part

    def _batched(self, item: dict[str, Any]) -> dict[str, Any]:
        kind, sent = item["operation"], item.get("record") or {}
        content = sent.get("content") if kind == "create" else None
        edits = list(merge_edits(sent["content"])) if kind == "update" else None
        status, body, _ = self._written(
            200,
            kind,
            item.get("idempotency_key", ""),
            item.get("id", ""),
            reference=sent.get("reference", ""),
            content=content,
            edits=edits,
            expected=item.get("if_match"),
        )
        return {"status": status, "record": body}

    def _is_throttled(self) -> bool:
        throttled = self.system.happens("throttle")
        if throttled:
            self._send(
                429,
                {"code": "THROTTLED", "message": "too many requests"},
                headers={"retry-after": str(self.system.retry_after_s)},
            )
        return throttled

    def _deliver(self, write: Callable[[], tuple[int, Any, Part | None]]) -> None:
        if self._is_throttled():
            return
        is_error = self.system.happens("error")
        if is_error and self.system.happens("error"):
            self._send(503, {"code": "UNAVAILABLE", "message": "an error before the write"})
            return
        try:
            status, body, part = self.system.deliver(write)
        except LostResponseError:
            self.close_connection = True
            return
        if is_error:
            self._send(503, {"code": "UNAVAILABLE", "message": "an error after the write"})
        else:
            self._send(status, body, part)

    def _send(self, status: int, body: Any, part: Part | None = None, headers: dict[str, str] | None = None) -> None:
        content = documents.encode(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        if part is not None:
            self.send_header("etag", f'"{part.version}"')
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def merge_edits(patch: dict[str, Any], path: str = "") -> Iterator[tuple[str, bool, Any]]:
    """Yield the edits of a JSON Merge Patch (RFC 7396)."""
    for name, value in patch.items():
        below = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
        if isinstance(value, dict) and value:
            yield from merge_edits(value, below)
        else:
            yield below, value is None, value


class HttpServer(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore callers that have closed their connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)
