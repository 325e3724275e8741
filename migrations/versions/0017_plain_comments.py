"""Comments and one message in plain words; no data and no behaviour changes."""

from draftline_server.ops.migrate import run_functions, run_script

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    run_script("0017_comments.sql")
    run_functions("change_log", "edits", "patches", "responses")


def downgrade() -> None:
    run_script("0017_down.sql")
