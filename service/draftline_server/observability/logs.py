"""Configuration of logging."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import TextIO, cast

import structlog

from ..domain.visible_text import visible
from .log_queue import LogQueue, install


def configure_queued(log_format: str, level: str, *, worker: int = 0) -> None:
    """Configure logging like `configure`, but so that it never blocks on the reader of the log (see log_queue.py)."""
    queue = install()
    configure(log_format, level, worker=worker)
    if queue is not None:
        queue.on_dropped = _log_dropped


def dropped_lines() -> int:
    """Return the number of dropped lines of this process's log so far."""
    return sys.stderr.dropped if isinstance(sys.stderr, LogQueue) else 0


def _log_dropped(lines: int) -> None:
    structlog.get_logger().warning(
        "log_lines_dropped", lines=lines, reason="the reader of standard error is slower than the log"
    )


def configure(log_format: str, level: str, *, worker: int = 0) -> None:
    """Configure logging to standard error.

    `log_format` is `console` for people or `json` for machines. `worker` is the number of a worker process, added to
    each line; 0 for a single process.
    """
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer()]  # in ASCII
        if log_format == "json"
        else [_visible_values, structlog.dev.ConsoleRenderer(colors=sys.stderr is not None and sys.stderr.isatty())]
    )
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _format_exception,
        *renderers,
    ]
    if worker:
        # Not by context variables, which are not set in callbacks of grpc.
        processors.insert(0, lambda _, __, event: {"worker": worker, **event})
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # One write for each line and its newline, because workers share the stream.
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _IgnoringErrors(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [
        *(handler for handler in root.handlers if not isinstance(handler, _LibraryHandler)),
        _LibraryHandler(),
    ]


class _IgnoringErrors:
    """A stream that ignores write errors, such as a closed stream: logging must never fail a request."""

    def __init__(self, stream: TextIO | None) -> None:
        """Wrap `stream`, which is None if the process has no standard error."""
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()


class _LibraryHandler(logging.Handler):
    """A handler for log records of libraries, such as asyncio's on unretrieved task exceptions.

    It logs the logger and the location only, because messages may quote data of callers.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        location = f"{record.module}:{record.lineno}"
        structlog.get_logger().log(record.levelno, "library_log", logger=record.name, location=location, exc_info=error)


def _format_exception(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Replace an exception by its type and traceback locations, without its message.

    Exception messages quote data of callers: PostgreSQL's quote rows and statements, Python's quote values and paths.
    """
    exc_info = event.pop("exc_info", None)
    error = sys.exception() if exc_info is True else exc_info
    if isinstance(error, BaseException):
        event["exception"] = "\n".join(_exception_lines(error))
    return event


def _visible_values(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape the control characters of texts, which callers may have chosen, before colors are added."""
    return {name: visible(value) if isinstance(value, str) else value for name, value in event.items()}


def _exception_lines(error: BaseException) -> Iterator[str]:
    """Yield the lines of an exception, innermost frame first, followed by its causes."""
    kind = type(error)
    details = [getattr(error, name, None) for name in ("sqlstate", "constraint_name", "errno")]
    yield " ".join(
        [f"{kind.__module__}.{kind.__qualname__}", *(str(detail) for detail in details if detail is not None)]
    )
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        yield f"  {frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}:{line}"
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield "caused by"
        yield from _exception_lines(cause)
