"""The objects of a schema, their digests, and the differences of two schemas."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..ops import new_database
from .sessions import fetch

Objects = Mapping[str, str]  # definitions by object, such as `index record_pkey`
SCRIPTS = {".py", ".sql"}


async def read_objects(connection: Any) -> dict[str, str]:
    """Return the definitions of the schema's objects."""
    return {row["name"]: row["definition"] for row in await fetch(connection, "objects")}


async def read_declared_objects(connection: Any) -> dict[str, str]:
    """Return the definitions in a form in which plain and partitioned tables compare, without partitions.

    Partitions depend on the tenants and on the date, so the migrations of an empty database do not create them.
    """
    found = {}
    for row in await fetch(connection, "objects"):
        if row["is_partition"]:
            continue
        name, definition = row["name"], row["definition"]
        if name.startswith("table "):
            definition = re.sub(r"^[rp] (\w+ \w+).*$", r"r \1", definition, flags=re.DOTALL)
        elif name.startswith("index "):
            definition = definition.replace(" ON ONLY ", " ON ", 1)
        found[name] = definition
    return found


def digests(objects: Objects) -> dict[str, str]:
    """Return a short digest of each definition."""
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in objects.items()}


def digest_of(digests_: Mapping[str, str]) -> str:
    """Return the digest of a schema, from those of its objects."""
    lines = "\n".join(f"{name}={digest}" for name, digest in sorted(digests_.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def compare(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Return the differences between two schemas, or between their digests, as phrases."""
    differences = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    differences += [f"{name} is unexpected" for name in sorted(found.keys() - wanted.keys())]
    differences += [
        f"{name} is different" for name in sorted(found.keys() & wanted.keys()) if found[name] != wanted[name]
    ]
    return differences


def scripts_digest(folder: Path) -> str:
    """Return the digest of the files that migrate."""
    digest = hashlib.sha256()
    unused = {folder / name for name in new_database.FILES}
    files = (path for path in folder.rglob("*") if path.suffix in SCRIPTS and path not in unused)
    for path in sorted(files):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
