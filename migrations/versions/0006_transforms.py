"""Transforms stay transforms in drafts, and what was removed stays removed."""

from draftline_server.ops.migrate import run_script

revision = "0006"
down_revision = "0005"


UP = ("transforms", "edits", "bases", "operations", "conflicts", "refresh")
DOWN = ("down", "edits_before", "conflicts_before")


def upgrade() -> None:
    for name in UP:
        run_script(f"0006_{name}.sql")


def downgrade() -> None:
    for name in DOWN:
        run_script(f"0006_{name}.sql")
