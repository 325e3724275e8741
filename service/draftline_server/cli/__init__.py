"""The command line, `draftline` and the name of a command."""

from __future__ import annotations

from .check import check_command
from .collections import collections
from .group import main
from .imports import import_command
from .keys import service_key_command, token_command
from .service import health_command, migrate_command, serve
from .shows import bench_command, demo_command

for command in (
    serve, migrate_command, check_command, health_command, token_command, service_key_command, import_command,
    collections, demo_command, bench_command,
):  # fmt: skip
    main.add_command(command)

__all__ = ["main"]
