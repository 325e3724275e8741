"""List the commands of the command line."""

from __future__ import annotations

import click


def leaves(group: click.Group, *above: str) -> list[tuple[str, click.Command]]:
    """Return every command that does something, with its full name: those in groups, and groups that work alone."""
    found: list[tuple[str, click.Command]] = []
    for name, each in group.commands.items():
        if isinstance(each, click.Group) and each.invoke_without_command:
            found.append((" ".join((*above, name)), each))
        found += leaves(each, *above, name) if isinstance(each, click.Group) else [(" ".join((*above, name)), each)]
    return found
