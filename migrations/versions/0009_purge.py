"""Limits of what merges make, and records that are removed for good."""

from draftline_server.ops.migrate import run_script

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run_script("0009_purge.sql")


def downgrade() -> None:
    run_script("0009_down.sql")
