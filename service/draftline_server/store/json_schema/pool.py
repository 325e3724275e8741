"""Checks of collections' JSON Schemas, run in separate processes that are started on demand.

Tenants share the processes fairly. One process is reserved for tenants that use none, so a tenant's schema does not
delay the other tenants by more than one check.
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
MAX_BYTES = 1024 * 1024  # of contents that are checked in one request

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Answer).decode


class _TooCostlyError(Exception):
    """The check exceeded its limit of time or memory, or crashed the process."""


class Schemas:
    """A checker of schemas, and of contents against them. `limit_s`: processor time for up to MAX_BYTES of contents."""

    def __init__(self, limit_s: float = 1.0) -> None:
        self._limit_s = limit_s
        self._permits = FairSemaphore(PROCESSES, 1)
        self._idle: list[Process] = []

    async def close(self) -> None:
        while self._idle:
            await _end(self._idle.pop())

    async def check(self, tenant_id: str, schema: str) -> None:
        """Raise InvalidFieldError if the schema is invalid or takes too long to check."""
        try:
            problem = (await self._ask(tenant_id, schema, [])).problem
        except _TooCostlyError:
            problem = self._too_costly
        if problem is not None:
            raise InvalidFieldError.of("json_schema", problem[:500])

    async def violations(
        self, tenant_id: str, schema: str, contents: Sequence[tuple[str, str]]
    ) -> list[SchemaViolationError | None]:
        """Return an error for each content that violates the schema, None for each that does not.

        Each content is its JSON text and the location that the error names.
        """
        errors: list[SchemaViolationError | None] = []
        for part in _parts(contents):
            try:
                answer = await self._ask(tenant_id, schema, [content for content, _ in part])
            except _TooCostlyError:
                problem = f"cannot be checked by the collection's JSON Schema: that {self._too_costly}"
                errors += [_error(where, problem, "") for _, where in part]
                continue
            if answer.problem is not None:
                errors += [_error(where, f"has a JSON Schema that {answer.problem}", "") for _, where in part]
                continue
            for (_, where), violation in zip(part, answer.violations, strict=True):
                if violation is None:
                    errors.append(None)
                    continue
                path = violation.path
                problem = f"breaks the collection's JSON Schema at {path or 'its root'}: {violation.problem}"
                errors.append(_error(where, problem, path))
        return errors

    @property
    def _too_costly(self) -> str:
        return f"takes more than {self._limit_s:g} s, or too much memory"

    async def _ask(self, tenant_id: str, schema: str, contents: list[str]) -> Answer:
        await self._permits.acquire(tenant_id)
        try:
            process = self._idle.pop() if self._idle else await _started()
            try:
                answer = await _exchange(process, _encode(Request(schema, contents, self._limit_s)))
            except BaseException:  # nothing will read the answer, so the process cannot be reused
                await asyncio.shield(_end(process))
                raise
            self._idle.append(process)
            return answer
        finally:
            self._permits.release(tenant_id)


async def _started() -> Process:
    # Use a separate session, so that Ctrl-C in the terminal reaches only the service, which drains first.
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
        if await process.wait() in (-signal.SIGKILL, -signal.SIGTERM):  # killed from outside, not because of the check
            raise OverloadedError("the check of the collection's JSON Schema was cut off; try again") from None
        raise _TooCostlyError from None


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _parts(contents: Sequence[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Yield the contents in parts of at most MAX_BYTES each; a larger content is a part by itself."""
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
