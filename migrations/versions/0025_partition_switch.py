"""The state and the log of a switchover to partitioned tables."""

from draftline_server.ops.migrate import run_script

revision = "0025"
down_revision = "0024"
oldest_service = "0022"  # it only adds tables


def upgrade() -> None:
    run_script("0025_partition_switch.sql")


def downgrade() -> None:
    run_script("0025_down.sql")
