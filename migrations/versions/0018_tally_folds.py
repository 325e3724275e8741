"""Folds that read only what writes appended, and statistics of ranges."""

from draftline_server.ops.migrate import run_functions, run_script

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    run_script("0018_tally_folds.sql")
    run_functions("statistics", "group_nodes")


def downgrade() -> None:
    run_script("0018_down.sql")
