"""Standard input, output and error, for a process that may have been started without them."""

from __future__ import annotations

import os

STANDARD = (0, 1, 2)


def open_standard_files() -> None:
    """Open the null device in place of each standard descriptor that is closed.

    Otherwise the next file opened, such as a database connection or a data file, would get that descriptor, and
    error messages of libraries and output of children would be written into it.
    """
    for descriptor in STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # usually this one, as the lowest free number
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
