"""Writes find rows by key, whatever the planner knows of the tables."""

from draftline_server.ops.migrate import run_functions, run_script

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    run_script("0019_known_keys.sql")
    run_functions("statistics", "refresh", "order_entries", "draft_deletion")


def downgrade() -> None:
    """Leave the functions, which have the same results as before."""
    run_script("0019_down.sql")
