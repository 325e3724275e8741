"""Drafts of parents and positions, drafts that bring deleted records back, and conflicts decided path by path."""

from draftline_server.ops.migrate import run_script

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run_script("0008_attributes.sql")
    run_script("0008_resolutions.sql")


def downgrade() -> None:
    run_script("0008_down.sql")
