"""Write migrations/schema.sql: the schema as it is after all migrations, functions included. --check compares only."""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from draftline_server.embedded_postgres.process import find_binaries
from draftline_server.embedded_postgres.server import EmbeddedPostgres
from draftline_server.ops import migrate

TARGET = Path(__file__).parent.parent / "migrations" / "schema.sql"
HEADER = """\
-- The schema after all migrations, for reading: `make generate` writes this file, and nothing runs it.
-- The weekly partitions of draftline.change, and the indexes that collections declare, are left out.
"""


def dumped() -> str:
    """Migrate a PostgreSQL of its own, and return what pg_dump says of it."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "data", durable=False) as postgres:
        migrate.upgrade(postgres.url)
        command = [
            str(find_binaries() / "pg_dump"), "--schema-only", "--no-owner", "--no-privileges", "--no-tablespaces",
            "--schema=draftline", "--exclude-table=draftline.change_[0-9]*", postgres.url,
        ]  # fmt: skip
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    text = re.sub(r"^(--|SET|SELECT pg_catalog|\\).*\n", "", text, flags=re.MULTILINE)
    return HEADER + "\n" + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


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
