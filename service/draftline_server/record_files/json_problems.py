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
    "Illegal trailing comma": "a value is missing after a comma",
    "Expecting ':'": "a colon is missing",
    "Expecting ','": "a comma or a closing bracket is missing",
    "Unterminated string": "the closing quote of a string is missing",
    "Invalid control character": "a string contains an unescaped control character",
    "Invalid \\": "a string contains an invalid escape sequence",
    "Extra data": "there is text after the end of the value",
    "Unexpected UTF-8 BOM": "the text begins with a byte order mark",
}


def json_problem(error: json.JSONDecodeError) -> str:
    """Return a message, without the position, for an error of the standard library's decoder."""
    return next((message for start, message in _PROBLEMS.items() if error.msg.startswith(start)), "invalid JSON")


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
