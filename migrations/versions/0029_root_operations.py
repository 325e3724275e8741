"""Drafts by operations that add or copy to the whole content, which has no last member of a path."""

from draftline_server.ops.migrate import run_functions

revision = "0029"
down_revision = "0028"
oldest_service = "0025"  # it only replaces a function


def upgrade() -> None:
    run_functions("transforms")


def downgrade() -> None:
    """Leave the functions, which have the same results as before where they had any."""
