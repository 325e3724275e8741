"""Statistics: tallies of the groups of records and drafts, which every write keeps."""

from draftline_server.ops.migrate import run_functions, run_script

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    run_script("0016_statistics.sql")
    run_functions("statistics", "refresh")


def downgrade() -> None:
    run_script("0016_down.sql")
