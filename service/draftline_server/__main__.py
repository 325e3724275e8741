"""The command `draftline`, and `python -m draftline_server`."""

from __future__ import annotations

import sys

from .ops.error_output import escape_control_characters
from .ops.garbage import collect_rarely
from .ops.standard_files import open_standard_files


def main() -> None:
    collect_rarely()
    open_standard_files()
    escape_control_characters()
    try:
        try:
            from .cli import main as command  # noqa: PLC0415  slow, so Ctrl-C may interrupt it
        except KeyboardInterrupt:
            sys.exit("\nAborted!")  # as click reports it afterwards
        command()
    except ModuleNotFoundError as error:  # commands import what they need
        sys.exit(
            f"Error: the installation is incomplete, the module {error.name} is missing: run `pip install "
            "draftline-server` in this environment again, or create a new one"
        )


if __name__ == "__main__":
    main()
