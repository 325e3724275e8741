"""Standard error, for the errors and warnings that Python itself prints."""

from __future__ import annotations

import sys
import threading
import traceback
import warnings
from contextlib import suppress
from types import TracebackType

from ..domain.visible_text import visible

_format_warning = warnings.formatwarning


def escape_control_characters() -> None:
    """Print the messages of unexpected errors and of warnings with control characters as escapes, from now on.

    They may quote texts that others have stored.
    """
    sys.excepthook = _print_error
    threading.excepthook = _print_error_of_thread
    warnings.formatwarning = _visible_warning


def _print_error(_: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _print("".join(traceback.format_exception(error.with_traceback(trace))))


def _print_error_of_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is None or isinstance(arguments.exc_value, SystemExit):
        return
    name = arguments.thread.name if arguments.thread is not None else threading.get_ident()
    lines = traceback.format_exception(arguments.exc_value)
    _print("".join([f"Exception in thread {name}:\n", *lines]))


def _print(text: str) -> None:
    with suppress(OSError, ValueError):  # such as a closed stream
        if sys.stderr is not None:
            sys.stderr.write(visible(text))  # noqa: TID251 - escaped, and without the imports of commands
            sys.stderr.flush()


def _visible_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return visible(_format_warning(message, category, filename, lineno, line))
