"""Writes keep the entries of orders; those declared so far are built in the background."""

from draftline_server.ops.migrate import run_functions, run_script

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run_script("0012_write_entries.sql")
    run_functions("order_entries", "refresh")
    run_script("0012_declared_orders.sql")


def downgrade() -> None:
    run_script("0012_down.sql")
