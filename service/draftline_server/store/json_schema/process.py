"""A process that checks contents against JSON Schemas, so that a harmful schema cannot affect the service.

A schema is a program: references can double at each level, a pattern can backtrack exponentially, and deep nesting can
exhaust the stack. None of this can be detected in its text, or interrupted within the process that runs it. So a timer
of processor time and a memory limit end this process when a check costs too much.

Requests arrive on standard input and answers go to standard output, each prefixed with its length.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import NoReturn

import jsonschema_rs
import msgspec

from ...domain.content import MAX_NUMBER_DIGITS, check_number
from ...domain.edits import format_pointer
from ...domain.errors import DraftlineError, InvalidDocumentError
from .problems import problem_of

MAX_MEMORY = 1024 * 1024 * 1024  # bytes
MAX_KEPT = 64  # compiled schemas
LENGTH_BYTES = 4

_parse = msgspec.json.Decoder(float_hook=Decimal).decode


class Request(msgspec.Struct):
    """Contents, as JSON text, to check against a schema, all of them within `limit_s` seconds of processor time."""

    schema: str
    contents: list[str]
    limit_s: float


class Violation(msgspec.Struct):
    """A violation of a schema: the JSON Pointer of a value, and its problem."""

    path: str
    problem: str


class Answer(msgspec.Struct):
    """The result of a request.

    `problem`: the reason that the schema is invalid. Otherwise `violations` has an item for each content, None if it is
    valid.
    """

    problem: str | None = None
    violations: list[Violation | None] = []


@lru_cache(MAX_KEPT)
def compiled(text: str) -> jsonschema_rs.Validator | str:
    """Return a validator that fetches nothing, or the problem of the schema."""
    try:
        schema = json.loads(text, parse_float=_number, parse_constant=_refuse_constant)
    except DraftlineError as error:
        return error.message
    except json.JSONDecodeError as error:
        return f"is not valid JSON: it cannot be parsed from line {error.lineno}, column {error.colno}"
    except RecursionError:
        return "is not a valid JSON Schema: it is nested too deep"
    except ValueError:  # an integer with more digits than Python parses
        return f"is not a valid JSON Schema: its numbers must have at most {MAX_NUMBER_DIGITS} digits"
    if not isinstance(schema, dict | bool):
        return "must be a JSON Schema: an object or a boolean"
    try:
        return jsonschema_rs.validator_for(schema, retriever=_refuse_retrieval)
    except jsonschema_rs.ValidationError as error:
        return problem_of(schema, error)
    except (ValueError, RecursionError):
        return "must not hold lone surrogates" if _has_surrogate(text) else "is not a valid JSON Schema"


def _has_surrogate(text: str) -> bool:
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise InvalidDocumentError(f"has a number that is too large: {text[:50]}") from None
    check_number(number, "its numbers")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidDocumentError(f"is not valid JSON: {name} is not a JSON number")


def _refuse_retrieval(uri: str) -> NoReturn:
    raise LookupError(uri)  # reported by problems.py, which finds the reference


def answer(request: Request) -> Answer:
    validator = compiled(request.schema)
    if isinstance(validator, str):
        return Answer(validator)
    return Answer(violations=[_violation(validator, content) for content in request.contents])


def _violation(validator: jsonschema_rs.Validator, content: str) -> Violation | None:
    """Return a violation of the content, None if it is valid. Numbers are compared exactly."""
    try:
        validator.validate(_parse(content))
    except jsonschema_rs.ValidationError as error:
        path = format_pointer([str(token) for token in error.instance_path])
        # The message quotes the value. A caller that may write it may read it, but the length must be limited.
        problem = error.message if len(error.message) <= 300 else error.message[:300] + "…"
        return Violation(path, problem)
    return None


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the service ends this process
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    decode, encode = msgspec.msgpack.Decoder(Request).decode, msgspec.msgpack.Encoder().encode
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while length := source.read(LENGTH_BYTES):
        request = decode(source.read(int.from_bytes(length, "big")))
        signal.setitimer(signal.ITIMER_PROF, request.limit_s)
        answered = encode(answer(request))
        signal.setitimer(signal.ITIMER_PROF, 0)
        sink.write(len(answered).to_bytes(LENGTH_BYTES, "big") + answered)
        sink.flush()


if __name__ == "__main__":
    main()
