"""Records, collections, and the functions that edit and read content."""

from draftline_server.ops.migrate import run_script

revision = "0001"
down_revision = None


def upgrade() -> None:
    for name in ("0001_tables.sql", "0001_fields.sql", "0001_edits.sql"):
        run_script(name)


def downgrade() -> None:
    run_script("0001_down.sql")
