"""The environment variables of the settings, current and former names included."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import NoneType
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from . import groups
from .group import Group
from .limits import LimitSettings

PREFIX = "DRAFTLINE_"
ENVIRONMENT = "environment"  # as the source of a setting
GROUPS: Mapping[str, type[Group]] = {
    "server": groups.ServerSettings,
    "database": groups.DatabaseSettings,
    "auth": groups.AuthSettings,
    "tls": groups.TlsSettings,
    "limits": LimitSettings,
    "maintenance": groups.MaintenanceSettings,
    "sync_workers": groups.SyncSettings,
    "metrics": groups.MetricsSettings,
    "log": groups.LogSettings,
    "traces": groups.TraceSettings,
}

# Former names and the current ones. Version 0.1 reads both; 0.2 will read the current ones only.
RENAMED = {
    "DRAFTLINE_LOG_KEEPING_INTERVAL_S": "DRAFTLINE_MAINTENANCE_INTERVAL_S",
    "DRAFTLINE_MAX_CONNECTION_GRACE_S": "DRAFTLINE_MAX_CONNECTION_AGE_GRACE_S",
    "DRAFTLINE_MAX_GROUP_SIZE": "DRAFTLINE_BATCH_SIZE",
    "DRAFTLINE_MAX_RECEIVING_BYTES": "DRAFTLINE_MAX_RECEIVE_BUFFER_BYTES",
    "DRAFTLINE_MAX_SENDING_BYTES": "DRAFTLINE_MAX_SEND_BUFFER_BYTES",
    "DRAFTLINE_MAX_WAITING": "DRAFTLINE_QUEUE_LIMIT",
    "DRAFTLINE_MAX_WAIT_S": "DRAFTLINE_QUEUE_TIMEOUT_S",
    "DRAFTLINE_MIN_PING_INTERVAL_S": "DRAFTLINE_KEEPALIVE_MIN_INTERVAL_S",
    "DRAFTLINE_PING_INTERVAL_S": "DRAFTLINE_KEEPALIVE_INTERVAL_S",
    "DRAFTLINE_RETRIES": "DRAFTLINE_MAX_ATTEMPTS",
    "DRAFTLINE_SCHEMA_TIMEOUT_S": "DRAFTLINE_JSON_SCHEMA_TIMEOUT_S",
    "DRAFTLINE_TRACES_ENDPOINT": "DRAFTLINE_TRACE_ENDPOINT",
    "DRAFTLINE_TRACES_SAMPLED_PART": "DRAFTLINE_TRACE_SAMPLE_RATIO",
}

# Variables of the command line, which are not settings of the service.
_OTHERS = {"DRAFTLINE_CONFIG", "DRAFTLINE_TOKEN"}


class Setting(NamedTuple):
    """A setting: its variable, and the field that it is in Settings."""

    name: str
    group: str
    field: str
    info: FieldInfo

    def value(self, settings: BaseModel) -> Any:
        """Return its value in a Settings."""
        return getattr(getattr(settings, self.group), self.field)


def _settings() -> Iterator[Setting]:
    for group, declared in GROUPS.items():
        for field, info in declared.model_fields.items():
            name = declared.names.get(field, declared.prefix + field.upper())
            yield Setting(PREFIX + name, group, field, info)


SETTINGS: Mapping[str, Setting] = {setting.name: setting for setting in _settings()}


def grouped(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by group and field, given groups or variables in lower case without the prefix."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        setting = SETTINGS.get(PREFIX + name.upper())
        if setting is None:
            found[name] = value
        else:
            found.setdefault(setting.group, {})[setting.field] = value
    return found


def set_by_environment() -> set[str]:
    """Return the names of the settings that the environment sets."""
    return {RENAMED.get(name, name) for name in _given()} & SETTINGS.keys()


def from_environment() -> dict[str, Any]:
    """Return the values that the environment sets, by group and field. An empty optional variable is None."""
    given, found = _given(), dict[str, Any]()
    former_names = {name: former for former, name in renamed_settings().items()}
    for name, setting in SETTINGS.items():
        value = given.get(name, given.get(former_names.get(name, "")))
        if value is not None:
            can_be_none = NoneType in get_args(setting.info.annotation)
            found.setdefault(setting.group, {})[setting.field] = None if value == "" and can_be_none else value
    return found


def _given() -> dict[str, str]:
    return {name.upper(): value for name, value in os.environ.items() if name.upper().startswith(PREFIX)}


def conflicts() -> list[str]:
    """Return a sentence for each setting that is set under its current and its former name."""
    given = _given()
    return [
        f"{former} is the former name of {name}, and both are set: unset {former}"
        for former, name in renamed_settings().items()
        if name in given
    ]


def renamed_settings() -> dict[str, str]:
    """Return the variables that are set under a former name, each with its current name."""
    given = _given()
    return {former: name for former, name in RENAMED.items() if former in given}


def unknown_settings() -> dict[str, str]:
    """Return the unknown DRAFTLINE_ variables, each with the most similar setting, or an empty string."""
    given = sorted(_given().keys() - SETTINGS.keys() - _OTHERS - RENAMED.keys())
    return {name: next(iter(get_close_matches(name, SETTINGS, n=1)), "") for name in given}
