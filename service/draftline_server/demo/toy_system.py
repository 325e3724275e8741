"""The toy system of record of the examples, as a module."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from ..ops.resources import shipped

NAME = "draftline_toy_system"


def toy_module() -> ModuleType:
    """Import the package examples/toy_system, which is not on the path. Raise FileNotFoundError if it is missing."""
    folder = shipped("examples") / "toy_system"
    spec = importlib.util.spec_from_file_location(
        NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{folder} is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module  # its modules import each other by this name
    spec.loader.exec_module(module)
    return module
