"""Answers of statistics that skip rows which were folded and cannot be vacuumed yet."""

from draftline_server.ops.migrate import run_script

revision = "0030"
down_revision = "0029"
oldest_service = "0025"  # it only adds columns and an index


def upgrade() -> None:
    run_script("0030_appended_rows.sql")


def downgrade() -> None:
    run_script("0030_down.sql")
