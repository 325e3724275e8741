"""A function that counts the records that the build of a statistic has read."""

from alembic import op
from draftline_server.ops.migrate import run_functions

revision = "0031"
down_revision = "0030"
oldest_service = "0025"  # it only adds a function


def upgrade() -> None:
    run_functions("build_progress")


def downgrade() -> None:
    op.execute("DROP FUNCTION draftline.count_built(text)")
