"""The commands of the command line, however deep they are."""

from __future__ import annotations

import click


def leaves(group: click.Group, *above: str) -> list[tuple[str, click.Command]]:
    """Every command that is no group, by its whole name."""
    found: list[tuple[str, click.Command]] = []
    for name, each in group.commands.items():
        found += leaves(each, *above, name) if isinstance(each, click.Group) else [(" ".join((*above, name)), each)]
    return found
