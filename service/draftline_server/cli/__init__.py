"""The command line, `draftline` and the name of a command."""

from __future__ import annotations

from .check import check_command
from .collections import collections
from .doctor import doctor_command
from .group import main
from .imports import import_command
from .keys import service_key_command, token_command
from .service import health_command, migrate_command, serve
from .shows import bench_command, demo_command
from .top import top_command

main.add_section("Run the service", (serve, migrate_command, health_command, doctor_command, top_command))
main.add_section("Look after the data", (check_command,))
main.add_section("Use a service", (import_command, collections))
main.add_section("Let callers in", (token_command, service_key_command))
main.add_section("Try it, and measure it", (demo_command, bench_command))

__all__ = ["main"]
