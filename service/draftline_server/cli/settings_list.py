"""`draftline settings`: list the settings."""

from __future__ import annotations

import json
import re

import click
from rich.table import Table
from rich.text import Text

from ..domain.visible_text import visible
from ..settings import SETTINGS, Setting, Settings
from ..settings.problems import range_of
from .app import SOURCES, json_option, reporting, result_console
from .terminal_text import echo_json

PASSWORD = re.compile(r"(?<=://)([^:@/\s]*):.*@|(?<=[?&]password=)[^&\s]*", re.IGNORECASE)


@click.command("settings")
@click.option("--changed", is_flag=True, help="List only settings whose value is not the default.")
@json_option
@click.pass_context
@reporting
def settings_command(context: click.Context, changed: bool, as_json: bool) -> None:
    """List the settings with their values, sources and defaults.

    The source is the environment, the settings file, or the default. Each has its range and a description. The values
    are those that `draftline serve` would use in this environment. Passwords in URLs are not shown.
    """
    settings, sources = context.find_object(Settings) or Settings(), context.meta[SOURCES]
    rows = [_row(setting, settings, sources.get(setting.name, "default")) for setting in SETTINGS.values()]
    shown = [row for row in rows if not changed or row["value"] != row["default"]]
    if as_json:
        for row in shown:
            echo_json(json.dumps(row, ensure_ascii=False))
        return
    table = Table("setting", "value", "source", "default", "range", "description", box=None, pad_edge=False)
    for row in shown:
        style = "bold" if row["value"] != row["default"] else ""
        table.add_row(*(Text(visible(_word(value)), style=style) for value in row.values()))
    result_console().print(table)


def _row(setting: Setting, settings: Settings, source: str) -> dict[str, object]:
    return {
        "name": setting.name,
        "value": _plain(setting.value(settings)),
        "source": source,
        "default": _plain(setting.info.default),
        "range": range_of(setting),
        "description": setting.info.description,
    }


def _plain(value: object) -> object:
    """Return a value of JSON, without a password."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return PASSWORD.sub(lambda found: f"{found[1]}:***@" if found[1] is not None else "***", str(value))


def _word(value: object) -> str:
    return "" if value is None else json.dumps(value) if isinstance(value, bool) else str(value)
