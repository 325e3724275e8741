"""Small servers of OData, SCIM and JSON:API over the system in memory, as their specifications describe them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from draftline.upstreams import Applied, Create, Delete, Exists, Gone, PathEdit, Refused, Stale, Update, WriteItem

from .memory_upstream import MemorySystem, Stored

PAGE_SIZE = 2


class Dialect(BaseHTTPRequestHandler):
    """One request. `requests` collects the method, the path and the headers of each."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    system: MemorySystem
    lock: threading.Lock
    requests: list[tuple[str, str, dict[str, str]]]
    collection = ""
    content_type = "application/json"

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  the name of the base class
        pass

    def handle_one(self) -> None:
        length = int(self.headers.get("content-length", 0))
        self.body = json.loads(self.rfile.read(length)) if length else None
        self.url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(self.url.query).items()}
        with self.lock:
            self.requests.append((self.command, self.path, {key.lower(): value for key, value in self.headers.items()}))
            remote_id = self.remote_id()
            if self.command == "GET":
                self.read(remote_id)
            else:
                self.write(remote_id)

    do_GET = do_POST = do_PATCH = do_DELETE = handle_one  # noqa: N815

    def remote_id(self) -> str:
        return unquote(self.url.path.rpartition("/")[2]) if not self.url.path.endswith(self.collection) else ""

    def read(self, remote_id: str) -> None:
        stored = self.system.records.get(remote_id)
        if not remote_id:
            self.list()
        elif stored is None or stored.deleted:
            self.send(404, self.error("notFound", "there is no such record"))
        else:
            self.send_record(200, stored)

    def write(self, remote_id: str) -> None:
        write: Any = Delete()
        reference = ""
        if self.command == "POST":
            reference, document = self.created()
            write = Create(document)
        elif self.command == "PATCH":
            write = Update(tuple(self.edits()))
        version = self.headers.get("if-match")
        item = WriteItem(
            idempotency_key=self.headers.get("idempotency-key") or str(len(self.requests)),
            record_id=reference,
            write=write,
            remote_id=remote_id,
            expected_remote_version=re.sub(r'^(W/)?"|"$', "", version) if version else None,
        )
        match self.system.apply(item):
            case Applied(applied_id) if self.command == "DELETE":
                self.send(204 if applied_id in self.system.records else 404, None)
            case Applied(applied_id):
                self.send_record(201 if self.command == "POST" else 200, self.system.records[applied_id])
            case Exists():
                self.send(409, self.error("uniqueness", "exists"))
            case Stale():
                self.send(412, self.error("stale", "another version"))
            case Gone():
                self.send(404, self.error("notFound", "there is no such record"))
            case Refused() as refused:
                self.send(400, self.error(refused.reason, refused.message, refused.fields[0].path[1:]))

    def living(self) -> list[Stored]:
        return [each for each in self.system.records.values() if not each.deleted]

    def send_record(self, status: int, stored: Stored) -> None:
        self.send(status, self.shown(stored), {"etag": f'W/"{stored.version}"'})

    def send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": self.content_type, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def list(self) -> None:
        raise NotImplementedError

    def shown(self, stored: Stored) -> Any:
        raise NotImplementedError

    def created(self) -> tuple[str, dict[str, Any]]:
        raise NotImplementedError

    def edits(self) -> Iterator[PathEdit]:
        raise NotImplementedError

    def error(self, code: str, message: str, field: str = "") -> Any:
        raise NotImplementedError


def merge_edits(patch: dict[str, Any], path: str = "") -> Iterator[PathEdit]:
    """Yield the edits of a JSON Merge Patch."""
    for name, value in patch.items():
        below = f"{path}/{name}"
        if isinstance(value, dict) and value:
            yield from merge_edits(value, below)
        else:
            yield PathEdit(below, value, removed=value is None)


class OData(Dialect):
    """OData 4.01: delta links, `@removed`, server-driven paging."""

    collection = "Parts"

    def remote_id(self) -> str:
        found = re.search(r"Parts\('(.*)'\)$", unquote(self.url.path))
        return found[1] if found else ""

    def shown(self, stored: Stored) -> Any:
        known = {"Id": stored.remote_id, "@odata.etag": f'W/"{stored.version}"', "Reference": stored.reference}
        return {**known, **stored.document}

    def created(self) -> tuple[str, dict[str, Any]]:
        return self.body.pop("Reference", ""), self.body

    def edits(self) -> Iterator[PathEdit]:
        return merge_edits(self.body)

    def list(self) -> None:
        base = f"http://{self.headers['host']}/v4/Parts"
        if "$filter" in self.query:
            reference = self.query["$filter"].split("'")[1]
            self.send(200, {"value": [self.shown(each) for each in self.living() if each.reference == reference]})
        elif "$deltatoken" in self.query:
            self._delta(base, int(self.query["$deltatoken"]))
        else:
            start, after = map(int, self.query.get("$skiptoken", f"{len(self.system.history)}-0").split("-"))
            records = list(self.system.records.values())
            page = [self.shown(each) for each in records[after : after + PAGE_SIZE] if not each.deleted]
            after += PAGE_SIZE
            is_last = after >= len(records)
            token = f"$deltatoken={start}" if is_last else f"$skiptoken={start}-{after}"
            self.send(200, {"value": page, f"@odata.{'deltaLink' if is_last else 'nextLink'}": f"{base}?{token}"})

    def _delta(self, base: str, start: int) -> None:
        if start < self.system.first_change:
            self.send(410, self.error("gone", "the delta link has expired"))
            return
        end = len(self.system.history)
        changed = dict.fromkeys(event.remote_id for event in self.system.history[start:end])
        value = [
            {"@removed": {"reason": "deleted"}, "Id": each} if self.system.records[each].deleted
            else self.shown(self.system.records[each])
            for each in changed
        ]  # fmt: skip
        self.send(200, {"value": value, "@odata.deltaLink": f"{base}?$deltatoken={end}"})

    def error(self, code: str, message: str, field: str = "") -> Any:
        details = [{"target": field, "message": message}] if field else []
        return {"error": {"code": code, "message": message, "details": details}}


class Scim(Dialect):
    """SCIM 2.0 (RFC 7644): PatchOp, pages by index, `meta.lastModified`."""

    collection = "Users"
    content_type = "application/scim+json"

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(self._time(len(self.system.history)), usegmt=True)

    def _time(self, version: int) -> datetime:
        """Return the time of the system, whose clock advances by a second with every write."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=version)

    def shown(self, stored: Stored) -> Any:
        modified = self._time(stored.version).isoformat().replace("+00:00", "Z")
        meta = {"version": f'W/"{stored.version}"', "lastModified": modified}
        return {"id": stored.remote_id, "externalId": stored.reference, "meta": meta, **stored.document}

    def created(self) -> tuple[str, dict[str, Any]]:
        assert self.body.pop("schemas") == ["urn:ietf:params:scim:schemas:core:2.0:User"]
        return self.body.pop("externalId", ""), self.body

    def edits(self) -> Iterator[PathEdit]:
        assert self.body["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:PatchOp"]
        for each in self.body["Operations"]:
            path = "/" + each["path"].replace(".", "/")
            yield PathEdit(path, each.get("value"), removed=each["op"] == "remove")

    def list(self) -> None:
        users = [self.shown(each) for each in self.living()]
        text = self.query.get("filter", "")
        if text.startswith("meta.lastModified ge "):
            users = [each for each in users if each["meta"]["lastModified"] >= text.split('"')[1]]
        elif text.startswith("externalId eq "):
            users = [each for each in users if each["externalId"] == text.split('"')[1]]
        first = int(self.query.get("startIndex", 1)) - 1
        self.send(200, {"totalResults": len(users), "Resources": users[first : first + PAGE_SIZE]})

    def error(self, code: str, message: str, field: str = "") -> Any:
        return {"scimType": code, "detail": message, "status": "400"}


class JsonApi(Dialect):
    """JSON:API 1.1: resource objects, links, error objects with sources."""

    collection = "articles"
    content_type = "application/vnd.api+json"

    def shown(self, stored: Stored) -> Any:
        return {"data": self._resource(stored)}

    def _resource(self, stored: Stored) -> Any:
        meta = {"reference": stored.reference}
        return {"type": "articles", "id": stored.remote_id, "attributes": stored.document, "meta": meta}

    def created(self) -> tuple[str, dict[str, Any]]:
        assert self.body["data"]["type"] == "articles"
        return self.body["data"]["meta"]["reference"], self.body["data"]["attributes"]

    def edits(self) -> Iterator[PathEdit]:
        assert (self.body["data"]["type"], self.body["data"]["id"]) == ("articles", self.remote_id())
        return merge_edits(self.body["data"]["attributes"])

    def list(self) -> None:
        first = int(self.query.get("page[offset]", 0))
        articles = self.living()
        links = {}
        if len(articles) > first + PAGE_SIZE:
            links["next"] = f"{self.url.path}?page%5Boffset%5D={first + PAGE_SIZE}"
        self.send(200, {"data": [self._resource(each) for each in articles[first : first + PAGE_SIZE]], "links": links})

    def error(self, code: str, message: str, field: str = "") -> Any:
        source = {"source": {"pointer": f"/data/attributes/{field}"}} if field else {}
        return {"errors": [{"code": code, "detail": message, **source}]}


@contextmanager
def serving(dialect: type[Dialect], system: MemorySystem) -> Iterator[tuple[str, Any]]:
    """Serve a system on a free port of loopback. Yield the host and port, and the requests that arrive."""
    handler = type("Served", (dialect,), {"system": system, "lock": threading.Lock(), "requests": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", handler.requests  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
