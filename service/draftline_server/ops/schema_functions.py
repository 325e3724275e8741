"""Compare the functions of a database at the current revision with those of migrations/functions, and repair them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from ..store.statements import load
from .resources import shipped

FOLDER = shipped("migrations") / "functions"
EXISTING = load("diagnosis")["functions"].sql
_DEFINITION = re.compile(  # those that begin with RETURN have no text of their body in the catalogue
    r"^CREATE OR REPLACE FUNCTION draftline\.(\w+)\(.*?(?:\bAS (\$\w*\$)(.*?)\2|^RETURN |^BEGIN ATOMIC)",
    re.MULTILINE | re.DOTALL,
)


def _files() -> list[Path]:
    return sorted(FOLDER.glob("*.sql"))


@cache
def expected() -> Counter[tuple[str, str]]:
    """Return the name and the MD5 of the body of each function; overloads have the same name."""
    found = _DEFINITION.findall("\n".join(path.read_text() for path in _files()))
    return Counter((name, hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()) for name, _, body in found)


def differing(existing: Iterable[tuple[str, str]]) -> list[str]:
    """Return the names of functions that are missing or have another body than expected."""
    return sorted({name for name, _ in expected() - Counter(existing)})


async def repair(engine: AsyncEngine) -> list[str]:
    """Create all functions again if one is missing or differs, as after a restore or a change by hand.

    Return the names of those functions. The database is at the current revision.
    """
    async with engine.begin() as connection:
        rows = (await connection.exec_driver_sql(EXISTING)).mappings()
        wrong = differing((row["name"], row["body"]) for row in rows)
        if wrong:  # bodies are not checked, because functions call each other
            script = "\n".join(["SET LOCAL check_function_bodies = off;", *(path.read_text() for path in _files())])
            driver = (await connection.get_raw_connection()).driver_connection
            await driver.execute(script)  # type: ignore[union-attr]
        return wrong
