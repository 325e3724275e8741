"""Order entries: the sort keys of declared orders as rows."""

from draftline_server.ops.migrate import run_script

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run_script("0011_order_entries.sql")


def downgrade() -> None:
    run_script("0011_down.sql")
