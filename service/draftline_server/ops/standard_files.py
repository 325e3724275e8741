"""Standard input, output and error of a process that may have been started without them."""

from __future__ import annotations

import os

STANDARD = (0, 1, 2)


def open_standard_files() -> None:
    """Open the null device in place of each standard descriptor that is closed.

    Else the next file that is opened has its number: a connection to the database, or a data file, into which the
    libraries' last words and the output of children would be written.
    """
    for descriptor in STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
