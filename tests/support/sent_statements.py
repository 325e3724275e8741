"""The statements that are sent to PostgreSQL, by name."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What the pool itself sends: a connection is looked over when it is made, and cleared when it is given back.
POOL = re.compile(
    r"\s*SELECT\s+current_setting\('jit'\)|\s*WITH RECURSIVE typeinfo_tree|SELECT pg_advisory_unlock_all|SELECT 1$"
)


def sent(seen: Sequence[str]) -> list[str]:
    """Return the names of our statements, and the text of others, without the driver's savepoint names."""
    ours = [re.sub(r"__asyncpg_savepoint_\w+", "savepoint", sql) for sql in seen if not POOL.match(sql)]
    return [named[1] if (named := re.match(r"/\* (\w+) \*/", sql)) else sql.strip() for sql in ours]
