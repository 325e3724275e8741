"""A command group whose help lists commands by section, and which imports only the command that is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any

import click


class _Commands(MutableMapping[str, click.Command]):
    """Commands by name. One that is given as `module:attribute` of this package is imported on first access."""

    def __init__(self) -> None:
        self._entries: dict[str, click.Command | str] = {}

    def place(self, places: Mapping[str, str]) -> None:
        self._entries.update(places)

    def __getitem__(self, name: str) -> click.Command:
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            command: click.Command = getattr(import_module(f".{module}", __package__), attribute)
            self._entries[name] = entry = command
        return entry

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._entries[name] = command

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class Sections(click.Group):
    """A group whose commands are added and listed by section, and are imported lazily.

    Importing the dependencies of `serve` takes a second, which other commands should not wait for.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = self._commands = _Commands()
        self.sections: dict[str, list[str]] = {}

    def add_section(self, title: str, places: Mapping[str, str]) -> None:
        """Add a section. `places` maps the name of each command to its `module:attribute`."""
        self.sections.setdefault(title, []).extend(places)
        self._commands.place(places)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        widest = max(map(len, self.commands))
        for title, names in self.sections.items():
            with formatter.section(title):
                limit = formatter.width - widest - 6
                rows = [(name.ljust(widest), self.commands[name].get_short_help_str(limit)) for name in names]
                formatter.write_dl(rows)
