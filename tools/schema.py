"""Write migrations/schema.sql: the schema as it is after all migrations, functions included. --check compares only.

Both fail unless the files of migrations/functions define exactly the functions that the migrations leave behind.
"""

from __future__ import annotations

import asyncio
import difflib
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import asyncpg
from draftline_server.embedded_postgres.process import find_binaries
from draftline_server.embedded_postgres.server import EmbeddedPostgres
from draftline_server.ops import migrate

TARGET = Path(__file__).parent.parent / "migrations" / "schema.sql"
FUNCTIONS = TARGET.parent / "functions"
HEADER = """\
-- The schema after all migrations: `make generate` writes this file, and `draftline serve --temporary` runs it.
-- The weekly partitions of draftline.change, and the indexes that collections declare, are left out.
"""
DEFINITIONS = """
SELECT p.proname, pg_get_functiondef(p.oid) AS definition
FROM pg_proc AS p WHERE p.pronamespace = CAST('draftline' AS regnamespace) ORDER BY 1, 2"""


def dumped() -> str:
    """Migrate a scratch PostgreSQL, check its functions, and return its schema as pg_dump prints it."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "data", durable=False) as postgres:
        migrate.upgrade(postgres.url)
        command = [
            str(find_binaries() / "pg_dump"), "--schema-only", "--no-owner", "--no-privileges", "--no-tablespaces",
            "--schema=draftline", "--exclude-table=draftline.change_[0-9]*", postgres.url,
        ]  # fmt: skip
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        asyncio.run(check_functions(postgres.url))
    text = re.sub(r"^(--|SET|SELECT pg_catalog|\\).*\n", "", text, flags=re.MULTILINE)
    return HEADER + "\n" + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


async def check_functions(url: str) -> None:
    """Exit with an error unless migrations/functions defines each function of the database once, and as it is there."""
    files = {path.name: path.read_text() for path in sorted(FUNCTIONS.glob("*.sql"))}
    connection = await asyncpg.connect(url)
    try:
        before = await connection.fetch(DEFINITIONS)
        for text in files.values():
            await connection.execute(f"SET check_function_bodies = off; {text}")
        after = await connection.fetch(DEFINITIONS)
    finally:
        await connection.close()
    defined = Counter(re.findall(r"^CREATE OR REPLACE FUNCTION draftline\.(\w+)\(", "\n".join(files.values()), re.M))
    migrated = Counter(row["proname"] for row in before)
    changed = {row["proname"] for row in set(before) ^ set(after)}
    wrong = changed | set((defined - migrated) | (migrated - defined))
    if wrong:
        sys.exit(
            f"migrations/functions and the migrations differ in {', '.join(sorted(wrong))}: each function has one file "
            "there, and a migration runs that file when it changes (see CONTRIBUTING.md)"
        )


def main() -> None:
    found = dumped()
    if "--check" not in sys.argv:
        TARGET.write_text(found)
        return
    kept = TARGET.read_text() if TARGET.exists() else ""
    if found != kept:
        print("".join(list(difflib.unified_diff(kept.splitlines(True), found.splitlines(True), "kept", "found"))[:40]))
        sys.exit("migrations/schema.sql is not what the migrations make: run `make generate`")


if __name__ == "__main__":
    main()
