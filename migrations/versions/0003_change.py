"""The change log, and requests that happen once."""

from draftline_server.ops.migrate import run_script

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for name in ("0003_tables.sql", "0003_changes.sql"):
        run_script(name)


def downgrade() -> None:
    run_script("0003_down.sql")
