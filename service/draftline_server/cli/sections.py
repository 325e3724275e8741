"""A group of commands whose help lists them by what they are for, and which loads the one that is called alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

import click


class _Commands(Mapping[str, click.Command]):
    """Commands by name, each loaded when it is asked for from its place: `module:attribute` in this package."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, name: str) -> click.Command:
        module, _, attribute = self.places[name].partition(":")
        command: click.Command = getattr(import_module(f".{module}", __package__), attribute)
        return command


class Sections(click.Group):
    """A group that is told its commands section by section, and lists them so.

    Loading what `serve` needs takes a second, for which no other command waits.
    """

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.sections: dict[str, list[str]] = {}
        self._loaded = _Commands()
        self.commands = self._loaded  # type: ignore[assignment]  # none is added by its object

    def add_section(self, title: str, places: Mapping[str, str]) -> None:
        """`places`: by the name of each command where it is."""
        self.sections.setdefault(title, []).extend(places)
        self._loaded.places.update(places)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        widest = max(map(len, self.commands))
        for title, names in self.sections.items():
            with formatter.section(title):
                limit = formatter.width - widest - 6
                rows = [(name.ljust(widest), self.commands[name].get_short_help_str(limit)) for name in names]
                formatter.write_dl(rows)
