"""Cheaper keys of order entries, and deletions of many drafts at once."""

from draftline_server.ops.migrate import run_functions

revision = "0028"
down_revision = "0027"
oldest_service = "0025"  # it only adds and replaces functions


def upgrade() -> None:
    run_functions("order_entries", "draft_deletion")


def downgrade() -> None:
    """Leave the functions, which have the same results as before."""
