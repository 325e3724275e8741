"""Relations of collections: their declarations, and the entries by which related records are found."""

from draftline_server.ops.migrate import run_functions, run_script

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    run_script("0021_relations.sql")
    run_functions("relations", "order_entries")


def downgrade() -> None:
    run_script("0021_down.sql")
