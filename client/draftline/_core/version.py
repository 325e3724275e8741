"""The version of the client."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("draftline")
except PackageNotFoundError:  # run from a copy of the source that is not installed
    __version__ = "0.0.0"
