"""Bound the cost of reading the change log: snapshots of contents, and an index by collection."""

from draftline_server.ops.migrate import run_script

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_script("0005_log_snapshots.sql")


def downgrade() -> None:
    run_script("0005_down.sql")
