"""What is sent to PostgreSQL, by the names that its statements have."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What the pool itself sends: a connection is looked over when it is made, and cleared when it is given back.
POOL = re.compile(
    r"\s*SELECT\s+current_setting\('jit'\)|\s*WITH RECURSIVE typeinfo_tree|SELECT pg_advisory_unlock_all|SELECT 1$"
)


def sent(seen: Sequence[str]) -> list[str]:
    """The names of our statements; of others, what they say, savepoints without what the driver calls them."""
    ours = [re.sub(r"__asyncpg_savepoint_\w+", "savepoint", sql) for sql in seen if not POOL.match(sql)]
    return [named[1] if (named := re.match(r"/\* (\w+) \*/", sql)) else sql.strip() for sql in ours]
