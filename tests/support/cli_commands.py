"""List the commands of the command line."""

from __future__ import annotations

import click


def leaves(group: click.Group, *above: str) -> list[tuple[str, click.Command]]:
    """Return every command that is not a group, with its full name."""
    found: list[tuple[str, click.Command]] = []
    for name, each in group.commands.items():
        found += leaves(each, *above, name) if isinstance(each, click.Group) else [(" ".join((*above, name)), each)]
    return found
