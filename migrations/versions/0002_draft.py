"""Drafts, and the functions that keep their merges."""

from draftline_server.ops.migrate import run_script

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for name in ("0002_tables.sql", "0002_drafts.sql", "0002_conflicts.sql"):
        run_script(name)


def downgrade() -> None:
    run_script("0002_down.sql")
