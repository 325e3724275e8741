"""Drafts of parents and positions, drafts that bring deleted records back, and conflicts decided path by path."""

from draftline_server.ops.migrate import run_script

revision = "0007"
down_revision = "0008"


def upgrade() -> None:
    run_script("0007_attributes.sql")
    run_script("0007_resolutions.sql")


def downgrade() -> None:
    run_script("0007_down.sql")
