"""Kept answers without the contents that the log can tell."""

from draftline_server.ops.migrate import run_script

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run_script("0010_kept_answers.sql")


def downgrade() -> None:
    run_script("0010_down.sql")
