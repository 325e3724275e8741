"""Patches of one record that arrive together are folded into one statement."""

from draftline_server.ops.migrate import run_functions, run_script

revision = "0015"
down_revision = "0013"


def upgrade() -> None:
    run_functions("folded_patches")


def downgrade() -> None:
    run_script("0015_down.sql")
