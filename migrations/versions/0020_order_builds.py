"""Builds of order entries that sort large ranges of records, and that report how many records there are."""

from draftline_server.ops.migrate import run_script

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    run_script("0020_order_builds.sql")


def downgrade() -> None:
    run_script("0020_down.sql")
