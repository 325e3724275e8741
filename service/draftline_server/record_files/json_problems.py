"""Readable messages for JSON that the standard library's decoder rejects."""

from __future__ import annotations

import json
from typing import IO, Any

from .text import not_utf_8


class JsonFileError(ValueError):
    """A small JSON file cannot be read; the message says where and why."""


# Keyed by the start of the decoder's message, because the rest differs between versions of Python.
_PROBLEMS = {
    "Expecting value": "a value is missing",
    "Expecting property name": 'a key in double quotes or a closing "}" is missing',
    "Illegal trailing comma": "a comma is followed by nothing",
    "Expecting ':'": "a colon is missing",
    "Expecting ','": "a comma or a closing bracket is missing",
    "Unterminated string": "a text in quotes is never closed",
    "Invalid control character": "a text holds a control character, which has to be escaped",
    "Invalid \\": "a text holds an escape that JSON does not have",
    "Extra data": "there is more after the end of the value",
    "Unexpected UTF-8 BOM": "a byte order mark stands before the value",
}


def json_problem(error: json.JSONDecodeError) -> str:
    """Return a message, without the position, for an error of the standard library's decoder."""
    return next((told for start, told in _PROBLEMS.items() if error.msg.startswith(start)), "the JSON is not valid")


def load_json(file: IO[str]) -> Any:
    """Return the JSON value of a file. Raise JsonFileError, with the file's name and the position, if it is invalid."""
    try:
        return json.load(file)
    except json.JSONDecodeError as error:
        raise JsonFileError(f"{file.name}, line {error.lineno}: {json_problem(error)}") from None
    except UnicodeDecodeError as error:
        raise JsonFileError(f"{file.name}, {not_utf_8(error.start, error.object[error.start])}") from None
    except RecursionError:
        raise JsonFileError(f"{file.name}: nested too deeply") from None
