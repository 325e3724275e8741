"""A toy system of record that Draftline can synchronize with, over gRPC and HTTP, with faults on request.

.venv/bin/python examples/upstream.py                                     serves gRPC on port 50061, HTTP on 8061
.venv/bin/python examples/upstream.py --fault timeout-after-apply=0.05    loses the response of 5 % of the writes

It keeps parts in memory, and has what a system needs so that nothing is lost or doubled: idempotency keys, versions
(ETags over HTTP), the client's reference, changes by cursor with deletions, and snapshots. The operator's file defines
it by {"toy": {"kind": "grpc", "address": "127.0.0.1:50061", "tls": null, "networks": ["127.0.0.0/8"],
"tenants": ["demo"]}}.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import grpc
from draftline import documents
from draftline.v1 import types_pb2, upstream_pb2, upstream_pb2_grpc

FAULTS = {
    "lost-before": "the request is dropped, and the connection ends",
    "timeout-after-apply": "the write is applied, and the response is lost",
    "late": "the write is applied a second after the caller has lost the connection",
    "duplicate": "the write arrives twice",
    "throttle": "429 or RESOURCE_EXHAUSTED, with a time to wait",
    "error": "503 or INTERNAL, before or after the write is applied",
    "slow": "the response takes a second",
    "refuse": "the record is refused with a reason and a field",
}
PAGE_SIZE = 100
MAX_BATCH = 100
KEYS_S = 86_400.0
LATE_S = 1.0
ABORTED = {"code": "ABORTED", "message": "another item of the batch was not applied", "fields": []}


@dataclass
class Part:
    """A record of the system."""

    id: str
    reference: str
    content: dict[str, Any]
    version: int = 0
    deleted: bool = False


class RefusedError(Exception):
    """The outcome of a write that is not applied: a status of HTTP, and the part as it is or the error."""

    def __init__(self, status: int, part: Part | None = None, error: dict[str, Any] | None = None) -> None:
        super().__init__(status)
        self.status, self.part, self.error = status, part, error


class LostResponseError(Exception):
    """The caller is to see no response."""


@dataclass(frozen=True)
class PartWrite:
    """A write: `create`, `update` or `delete`. `expected`: the version that the part must have; None: any."""

    kind: str
    key: str
    part_id: str = ""
    reference: str = ""
    content: dict[str, Any] | None = None
    edits: list[tuple[str, bool, Any]] | None = None
    expected: str | None = None


@dataclass
class System:
    """The system itself: all that both protocols share. Methods may be called from any thread."""

    rates: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    parts: dict[str, Part] = field(default_factory=dict)
    referenced: dict[str, Part] = field(default_factory=dict)  # by reference
    log: list[str] = field(default_factory=list)  # the id of each change; a part's version is its position
    keys: dict[str, tuple[Part | RefusedError, float]] = field(default_factory=dict)
    retry_after_s: int = 1  # the time that a throttled caller is asked to wait

    def __post_init__(self) -> None:
        self.lock = threading.RLock()
        self.random = random.Random(self.seed)

    def happens(self, fault: str) -> bool:
        """Return whether a fault happens now."""
        with self.lock:
            return self.random.random() < self.rates.get(fault, 0.0)

    def deliver(self, write: Callable[[], Any]) -> Any:
        """Deliver a request that writes, with the faults of the network. Raises LostResponseError."""
        if self.happens("lost-before"):
            raise LostResponseError
        if self.happens("late"):
            threading.Timer(LATE_S, _quietly, (write,)).start()
            raise LostResponseError
        if self.happens("duplicate"):
            threading.Timer(LATE_S, _quietly, (write,)).start()
        result = write()
        if self.happens("timeout-after-apply"):
            raise LostResponseError
        self.delay()
        return result

    def delay(self) -> None:
        """Delay a response that has been made."""
        if self.happens("slow"):
            time.sleep(LATE_S)

    def write(self, kind: str, key: str, part_id: str = "", **arguments: Any) -> Part:
        """Apply a write, once for a key, and return the part. Raise RefusedError if it is not applied."""
        with self.lock:
            write = PartWrite(kind, key, part_id, **arguments)
            self.check(write)
            return self.apply(write)

    def write_all(self, writes: list[PartWrite]) -> list[Part | RefusedError]:
        """Apply writes of different parts, all or none. Return each part, or why none was applied."""
        with self.lock:
            refusals: list[RefusedError | None] = []
            for write in writes:
                try:
                    self.check(write)
                    refusals.append(None)
                except RefusedError as refusal:
                    refusals.append(refusal)
            if any(refusals):
                return [each or RefusedError(424, error=ABORTED) for each in refusals]
            return [self.apply(each) for each in writes]

    def check(self, write: PartWrite) -> None:
        """Raise RefusedError if a write cannot be applied."""
        known = self._known(write)
        if isinstance(known, RefusedError):
            raise known
        if known is not None:
            return
        if self.happens("refuse"):
            fields = [{"path": "/rate", "message": "is not allowed"}]
            refused = RefusedError(422, error={"code": "INVALID", "message": "it is refused", "fields": fields})
            if write.key:
                self.keys[write.key] = (refused, time.monotonic() + KEYS_S)
            raise refused
        if write.kind == "create":
            self.check_reference(write.reference)
            return
        part = self.parts.get(write.part_id)
        if part is None or part.deleted:
            if write.kind == "update":
                raise RefusedError(404)
        elif write.expected is not None and write.expected != str(part.version):
            raise RefusedError(412, part)

    def check_reference(self, reference: str) -> None:
        """Raise RefusedError if there is a part with this reference."""
        existing = self.referenced.get(reference)
        if existing is not None and not existing.deleted:
            raise RefusedError(409, existing)

    def apply(self, write: PartWrite) -> Part:
        """Apply a write that was checked, once for a key, and return the part."""
        known = self._known(write)
        if isinstance(known, Part):
            return known
        part = self._new(write.reference) if write.kind == "create" else self._existing(write.part_id)
        if write.kind == "create":
            part.content = dict(write.content or {})
        elif write.kind == "update":
            part.content = edited(part.content, write.edits or [])
        changes_something = write.kind != "delete" or not part.deleted
        part.deleted = write.kind == "delete"
        if changes_something:
            self.log.append(part.id)
            part.version = len(self.log)
        copy = Part(part.id, part.reference, dict(part.content), part.version, part.deleted)
        if write.key:
            self.keys[write.key] = (copy, time.monotonic() + KEYS_S)
        return copy

    def _known(self, write: PartWrite) -> Part | RefusedError | None:
        """Return the outcome of an earlier write with the same key; None if there is none."""
        known = self.keys.get(write.key) if write.key else None
        return known[0] if known is not None and time.monotonic() < known[1] else None

    def _new(self, reference: str) -> Part:
        part = Part(f"part-{len(self.parts) + 1}", reference, {})
        self.parts[part.id] = part
        if reference:
            self.referenced[reference] = part
        return part

    def _existing(self, part_id: str) -> Part:
        return self.parts.get(part_id) or Part(part_id, "", {}, deleted=True)

    def changes(self, cursor: int) -> tuple[list[Part], int]:
        """Return a page of what changed after a cursor, deletions included, and the next cursor."""
        with self.lock:
            end = min(cursor + PAGE_SIZE, len(self.log))
            return [self.parts[each] for each in dict.fromkeys(self.log[cursor:end])], end

    def snapshot(self, cursor: str) -> tuple[list[Part], str, str]:
        """Return a page of all parts, its cursor, and on the last page the cursor for changes since the beginning."""
        with self.lock:
            start, after = map(int, cursor.split("-")) if cursor else (len(self.log), 0)
            parts = list(self.parts.values())
            page = [each for each in parts[after : after + PAGE_SIZE] if not each.deleted]
            after += PAGE_SIZE
            return page, f"{start}-{after}", str(start) if after >= len(parts) else ""


def _quietly(write: Callable[[], Any]) -> None:
    with suppress(RefusedError):
        write()


def edited(content: dict[str, Any], edits: list[tuple[str, bool, Any]]) -> dict[str, Any]:
    """Return a copy with edits: JSON Pointers through objects, whether the path is removed, and the value."""
    result: dict[str, Any] = json.loads(json.dumps(content))
    for path, removed, value in edits:
        *parents, last = [each.replace("~1", "/").replace("~0", "~") for each in path[1:].split("/")]
        target = result
        for token in parents:
            if not isinstance(target.get(token), dict):
                target[token] = {}
            target = target[token]
        if removed:
            target.pop(last, None)
        else:
            target[last] = value
    return result


# gRPC


def document(content: dict[str, Any]) -> types_pb2.Document:
    return documents.document(content)


def record(part: Part) -> upstream_pb2.RemoteRecord:
    message = upstream_pb2.RemoteRecord(
        remote_id=part.id, remote_version=str(part.version), record_id=part.reference, deleted=part.deleted
    )
    if not part.deleted:
        message.document.CopyFrom(document(part.content))
    return message


class UpstreamService(upstream_pb2_grpc.UpstreamServiceServicer):
    """The system over gRPC."""

    def __init__(self, system: System) -> None:
        self._system = system

    def Describe(self, request: Any, context: Any) -> upstream_pb2.DescribeResponse:  # noqa: ARG002, N802
        return upstream_pb2.DescribeResponse(
            idempotency_keys_s=KEYS_S, conditional_writes=True, client_reference=True, ordered_versions=True,
            returns_stored=True, changes=True, deletions_in_changes=True, snapshots=True, lookups=True,
            max_batch=MAX_BATCH, atomic_batch=True,
        )  # fmt: skip

    def Write(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._throttle(context)
        is_error = self._system.happens("error")
        if is_error and self._system.happens("error"):
            context.abort(grpc.StatusCode.INTERNAL, "an error before the write")
        try:
            response = self._system.deliver(lambda: self._written(request))
        except LostResponseError:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was lost")
        if is_error:
            context.abort(grpc.StatusCode.INTERNAL, "an error after the write")
        return response

    def ReadChanges(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        self._throttle(context)
        cursor = int(request.cursor or 0)
        while True:
            parts, after = self._system.changes(cursor)
            if after == cursor:
                return
            cursor = after
            page = upstream_pb2.ReadPage(records=map(record, parts), cursor=str(cursor))
            self._system.delay()
            yield upstream_pb2.ReadChangesResponse(page=page)

    def ReadSnapshot(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        self._throttle(context)
        cursor, changes_cursor = request.cursor, ""
        while not changes_cursor:
            parts, cursor, changes_cursor = self._system.snapshot(cursor)
            page = upstream_pb2.ReadPage(records=map(record, parts), cursor=cursor, changes_cursor=changes_cursor)
            self._system.delay()
            yield upstream_pb2.ReadSnapshotResponse(page=page)

    def Lookup(self, request: Any, context: grpc.ServicerContext) -> upstream_pb2.LookupResponse:  # noqa: N802
        self._throttle(context)
        missing = (self._system.parts.get(each) or Part(each, "", {}, deleted=True) for each in request.remote_ids)
        return upstream_pb2.LookupResponse(records=map(record, missing))

    def _throttle(self, context: grpc.ServicerContext) -> None:
        if self._system.happens("throttle"):
            context.set_trailing_metadata((("retry-after", str(self._system.retry_after_s)),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests")

    def _written(self, request: Any) -> upstream_pb2.WriteResponse:
        writes = map(self._write, request.items)
        results = self._system.write_all(list(writes)) if request.atomic else map(self._result, writes)
        return upstream_pb2.WriteResponse(outcomes=map(self._outcome, results))

    def _result(self, write: PartWrite) -> Part | RefusedError:
        (result,) = self._system.write_all([write])
        return result

    def _write(self, item: Any) -> PartWrite:
        kind = item.WhichOneof("write")
        expected = item.expected_remote_version if item.HasField("expected_remote_version") else None
        edits = [
            (
                each.path,
                not each.HasField("value"),
                documents.json_value_of(each.value) if each.HasField("value") else None,
            )
            for each in item.update.edits
        ]
        content = documents.content_of(item.create) if kind == "create" else None
        return PartWrite(kind, item.idempotency_key, item.remote_id, item.record_id, content, edits, expected)

    def _outcome(self, result: Part | RefusedError) -> upstream_pb2.WriteOutcome:
        if isinstance(result, RefusedError):
            return self._refused(result)
        applied = upstream_pb2.Applied(remote_id=result.id, remote_version=str(result.version))
        if not result.deleted:
            applied.stored.CopyFrom(record(result))
        return upstream_pb2.WriteOutcome(applied=applied)

    def _refused(self, refusal: RefusedError) -> upstream_pb2.WriteOutcome:
        now = record(refusal.part) if refusal.part else None
        if refusal.status == 404:
            return upstream_pb2.WriteOutcome(gone=upstream_pb2.Gone())
        if refusal.status == 409:
            return upstream_pb2.WriteOutcome(exists=upstream_pb2.Exists(record=now))
        if refusal.status == 412:
            return upstream_pb2.WriteOutcome(stale=upstream_pb2.Stale(record=now))
        error: Any = refusal.error or {}
        problems = [upstream_pb2.FieldProblem(**each) for each in error["fields"]]
        refused = upstream_pb2.Refused(reason=error["code"], message=error["message"], fields=problems)
        return upstream_pb2.WriteOutcome(refused=refused)


# HTTP


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


class _HttpServer(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore callers that have closed their connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Running:
    """Serves a system on two ports of loopback until `stop`; 0 chooses a free port."""

    def __init__(self, system: System, grpc_port: int = 0, http_port: int = 0) -> None:
        self._http = _HttpServer(("127.0.0.1", http_port), type("ThisHandler", (Handler,), {"system": system}))
        self._threads = ThreadPoolExecutor(32)
        self._grpc = grpc.server(self._threads, options=[("grpc.so_reuseport", 0)])
        upstream_pb2_grpc.add_UpstreamServiceServicer_to_server(UpstreamService(system), self._grpc)
        self.grpc_port = self._grpc.add_insecure_port(f"127.0.0.1:{grpc_port}")
        self.http_port = self._http.server_address[1]
        self._grpc.start()
        self._http_thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._http_thread.start()

    def stop(self) -> None:
        """Cancel all calls, and return when no thread of the servers runs any more."""
        self._grpc.stop(None).wait()
        self._threads.shutdown(cancel_futures=True)
        self._http.shutdown()
        self._http_thread.join()
        self._http.server_close()


def rate(text: str) -> tuple[str, float]:
    """Return the name and the rate of `--fault`. Raise ArgumentTypeError if it is not valid."""
    name, _, share = text.partition("=")
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if name not in FAULTS or not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"write NAME=RATE, with a rate from 0 to 1 and a name of {', '.join(FAULTS)}")
    return name, value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="faults:\n" + "\n".join(f"  {name:20} {text}" for name, text in FAULTS.items()),
    )
    parser.add_argument("--grpc-port", type=int, default=50061)
    parser.add_argument("--http-port", type=int, default=8061)
    parser.add_argument("--fault", type=rate, action="append", default=[], metavar="NAME=RATE")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    options = parser.parse_args()
    running = Running(System(dict(options.fault), options.seed), options.grpc_port, options.http_port)
    print(f"gRPC on 127.0.0.1:{running.grpc_port}, HTTP on http://127.0.0.1:{running.http_port}", flush=True)
    stopped = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopped.set())
    stopped.wait()
    running.stop()


if __name__ == "__main__":
    main()
