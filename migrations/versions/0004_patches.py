"""Patches and drafts in less time."""

from draftline_server.ops.migrate import run_script

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_script("0004_patches.sql")


def downgrade() -> None:
    run_script("0004_down.sql")
