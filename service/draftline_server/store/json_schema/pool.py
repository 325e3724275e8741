"""JSON Schemas of collections: checked in processes of their own, which are started when they are needed.

Tenants take turns. One of the processes is kept for tenants who have none, so that nobody's schema keeps the
others waiting for longer than one check of theirs.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import cast

import msgspec

from ...concurrency.fair_semaphore import FairSemaphore
from ...domain.errors import InvalidFieldError, OverloadedError, SchemaViolationError
from .process import LENGTH_BYTES, Answer, Request

PROCESSES = 2
MAX_BYTES = 1024 * 1024  # of contents that are checked together

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Answer).decode


class _TooCostlyError(Exception):
    """The check was over its limit of time or memory, or brought the process down."""


class Schemas:
    """Checks schemas, and contents by schemas. `limit_s`: of processor time, for contents of MAX_BYTES together."""

    def __init__(self, limit_s: float = 1.0) -> None:
        self._limit_s = limit_s
        self._turns = FairSemaphore(PROCESSES, 1)
        self._idle: list[Process] = []

    async def close(self) -> None:
        while self._idle:
            await _end(self._idle.pop())

    async def check(self, tenant_id: str, schema: str) -> None:
        """InvalidFieldError for what is no schema, or takes too long to be looked at."""
        try:
            problem = (await self._ask(tenant_id, schema, [])).problem
        except _TooCostlyError:
            problem = self._too_costly
        if problem is not None:
            raise InvalidFieldError.of("json_schema", problem[:500])

    async def violations(
        self, tenant_id: str, schema: str, contents: Sequence[tuple[str, str]]
    ) -> list[SchemaViolationError | None]:
        """What breaks the schema: an error for each content, as JSON text and where it is from; None for a good one."""
        found: list[SchemaViolationError | None] = []
        for part in _parts(contents):
            try:
                answer = await self._ask(tenant_id, schema, [content for content, _ in part])
            except _TooCostlyError:
                problem = f"cannot be checked by the collection's JSON Schema: that {self._too_costly}"
                found += [_error(where, problem, "") for _, where in part]
                continue
            if answer.problem is not None:
                found += [_error(where, f"has a JSON Schema that {answer.problem}", "") for _, where in part]
                continue
            for (_, where), violation in zip(part, answer.violations, strict=True):
                if violation is None:
                    found.append(None)
                    continue
                path = violation.path
                problem = f"breaks the collection's JSON Schema at {path or 'its root'}: {violation.problem}"
                found.append(_error(where, problem, path))
        return found

    @property
    def _too_costly(self) -> str:
        return f"takes more than {self._limit_s:g} s, or too much memory"

    async def _ask(self, tenant_id: str, schema: str, contents: list[str]) -> Answer:
        await self._turns.acquire(tenant_id)
        try:
            process = self._idle.pop() if self._idle else await _started()
            try:
                answer = await _exchange(process, _encode(Request(schema, contents, self._limit_s)))
            except BaseException:  # whoever was to read the answer is gone
                await asyncio.shield(_end(process))
                raise
            self._idle.append(process)
            return answer
        finally:
            self._turns.release(tenant_id)


async def _started() -> Process:
    # In a session of its own: a Ctrl-C in the terminal reaches us, and we drain first.
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "draftline_server.store.json_schema.process",
        stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True,
    )  # fmt: skip


async def _exchange(process: Process, request: bytes) -> Answer:
    sink, source = cast(asyncio.StreamWriter, process.stdin), cast(asyncio.StreamReader, process.stdout)
    try:
        sink.write(len(request).to_bytes(LENGTH_BYTES, "big") + request)
        await sink.drain()
        length = await source.readexactly(LENGTH_BYTES)
        return _decode(await source.readexactly(int.from_bytes(length, "big")))
    except (asyncio.IncompleteReadError, ConnectionError):
        if await process.wait() in (-signal.SIGKILL, -signal.SIGTERM):  # by somebody, not by what it did
            raise OverloadedError("the check of the collection's JSON Schema was cut off; try again") from None
        raise _TooCostlyError from None


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _parts(contents: Sequence[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """The contents in parts of at most MAX_BYTES, unless one alone has more."""
    part: list[tuple[str, str]] = []
    size = 0
    for content in contents:
        size += len(content[0].encode())
        if part and size > MAX_BYTES:
            yield part
            part, size = [], len(content[0].encode())
        part.append(content)
    if part:
        yield part


def _error(where: str, problem: str, path: str) -> SchemaViolationError:
    return SchemaViolationError(f"{where}: {problem}", fields=[(where, problem)], path=path)
