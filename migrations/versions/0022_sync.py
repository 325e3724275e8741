"""Sync with systems of record: configurations, the state of each record, and events."""

from draftline_server.ops.migrate import run_functions, run_script

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    run_script("0022_sync.sql")
    run_functions("sync")


def downgrade() -> None:
    run_script("0022_down.sql")
