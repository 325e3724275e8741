"""The settings file, `draftline.toml`: names of settings in lower case without the prefix, each with a value.

    port = 50051
    workers = 4
    database_url = "postgresql://draftline@db.internal/draftline?passfile=/etc/draftline/pgpass"

The environment overrides the file, and flags of the command line override both.
"""

from __future__ import annotations

import os
import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, get_args
from urllib.parse import parse_qs

from .variables import PREFIX, RENAMED, SETTINGS

_AUTHORITY_END = re.compile(r"[/?#]")

DEFAULT_FILE = Path("draftline.toml")


class SettingsFileError(ValueError):
    """The settings file cannot be read, or has a key or a value that is not a setting."""


def read_file(path: Path) -> dict[str, str]:
    """Return the values of a settings file, as texts by the names of their settings. Raise SettingsFileError."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        reason = f" by user {os.geteuid()}" if isinstance(error, PermissionError) else ""
        raise SettingsFileError(f"{path} cannot be read{reason}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsFileError(f"{path} is not UTF-8 at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsFileError(f"{path} is not TOML: {error}") from None
    return {_name(path, key, value): _value(path, key, value) for key, value in content.items()}


def by_group(values: dict[str, Any]) -> dict[str, Any]:
    """Return values by group and field. An empty text for an optional setting is None."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        setting = SETTINGS[name]
        can_be_none = NoneType in get_args(setting.info.annotation)
        found.setdefault(setting.group, {})[setting.field] = None if value == "" and can_be_none else value
    return found


def reject_password(url: str, source: str) -> None:
    """Raise SettingsFileError if a database URL has a password, which belongs in a file that only the service reads."""
    account = _AUTHORITY_END.split(url.partition("://")[2])[0].rpartition("@")[0]
    if account.partition(":")[2] or "password" in parse_qs(url.partition("?")[2]):
        raise SettingsFileError(
            f"{source}: a password does not belong here: write it to a file that only the service can read, and name "
            "that in the URL, ?passfile=/path (as in libpq), or set DRAFTLINE_DATABASE_URL"
        )


def _name(path: Path, key: str, value: object) -> str:
    name = PREFIX + key.upper()
    if name in SETTINGS and key == key.lower() and not isinstance(value, dict | list):
        return name
    if isinstance(value, dict | list):
        raise SettingsFileError(
            f"{path}: {key} is a table or a list; write one setting in a line, such as port = 50051"
        )
    known = {setting.removeprefix(PREFIX).lower() for setting in SETTINGS}
    current = RENAMED.get(name, "").removeprefix(PREFIX).lower()
    near = current or next(iter(get_close_matches(key.lower().removeprefix(PREFIX.lower()), known, n=1)), "")
    raise SettingsFileError(f"{path}: {key} is not a setting" + (f"; did you mean {near}?" if near else ""))


def _value(path: Path, key: str, value: Any) -> str:
    if key == "database_url" and isinstance(value, str):
        reject_password(value, f"{path}: {key}")
    return str(value).lower() if isinstance(value, bool) else str(value)  # a text, as in the environment
