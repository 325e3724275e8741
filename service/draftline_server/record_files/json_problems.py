"""Plain sentences for what is wrong with a JSON text that the standard library cannot read."""

from __future__ import annotations

import json
from typing import IO, Any

from .text import not_utf_8


class JsonFileError(ValueError):
    """A small file of JSON cannot be read; the text says where and why."""


# By how the message of the decoder begins. Its messages differ between the versions of Python.
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
    """Return a sentence, without the place, for an error of the standard library's decoder."""
    return next((told for start, told in _PROBLEMS.items() if error.msg.startswith(start)), "the JSON is not valid")


def load_json(file: IO[str]) -> Any:
    """Return the value that a file holds. Raise JsonFileError, with the file's name and the place, if it is no JSON."""
    try:
        return json.load(file)
    except json.JSONDecodeError as error:
        raise JsonFileError(f"{file.name}, line {error.lineno}: {json_problem(error)}") from None
    except UnicodeDecodeError as error:
        raise JsonFileError(f"{file.name}, {not_utf_8(error.start, error.object[error.start])}") from None
    except RecursionError:
        raise JsonFileError(f"{file.name}: nested too deeply") from None
