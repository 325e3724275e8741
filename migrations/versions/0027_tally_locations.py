"""A function that deletes rows of a tally by their locations, whatever the planner knows of the table."""

from alembic import op
from draftline_server.ops.migrate import run_functions

revision = "0027"
down_revision = "0026"
oldest_service = "0025"  # it only adds a function


def upgrade() -> None:
    run_functions("tally_rows")


def downgrade() -> None:
    op.execute("DROP FUNCTION draftline.delete_tally_rows(text, bigint, tid[])")
