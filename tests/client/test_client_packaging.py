"""The dependencies of the distribution, and the modules that it imports."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import requires
from importlib.resources import files

FOREIGN = ("google.rpc", "google.api", "buf", "draftline_server", "msgspec", "sqlalchemy")


def test_distribution_needs_grpcio_and_protobuf_alone() -> None:
    names = {
        re.split(r"[^A-Za-z0-9_.-]", requirement)[0]
        for requirement in requires("draftline") or ()
        if "extra ==" not in requirement
    }
    assert names == {"grpcio", "protobuf"}


def test_distribution_is_marked_as_typed() -> None:
    assert files("draftline").joinpath("py.typed").is_file()


def test_import_brings_no_foreign_module() -> None:
    program = f"import sys, draftline; print([name for name in sys.modules if name.startswith({FOREIGN!r})])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_errors_are_read_without_a_foreign_file_in_the_default_pool() -> None:
    program = """
import draftline._core.status
from google.protobuf import descriptor_pool
names = ("google/rpc/status.proto", "google/rpc/error_details.proto", "buf/validate/validate.proto", "status.proto")
for name in names:
    try:
        descriptor_pool.Default().FindFileByName(name)
    except KeyError:
        continue
    print(name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
