"""Cheaper moves of order entries: deletions of many at once, and insertions without ON CONFLICT."""

from draftline_server.ops.migrate import run_functions

revision = "0024"
down_revision = "0023"
oldest_service = "0022"  # it only replaces functions


def upgrade() -> None:
    run_functions("order_entries")


def downgrade() -> None:
    """Leave the functions, which have the same results as before."""
