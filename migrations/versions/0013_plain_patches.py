"""Plain patches have a statement of their own."""

from draftline_server.ops.migrate import run_functions, run_script

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run_functions("plain_patches")


def downgrade() -> None:
    run_script("0013_down.sql")
