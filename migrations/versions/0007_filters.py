"""Filters by AIP-160, times by RFC 3339, and declared fields that refuse what they cannot hold."""

from draftline_server.ops.migrate import run_script

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    for name in ("0007_lower.sql", "0007_filters.sql"):
        run_script(name)


def downgrade() -> None:
    run_script("0007_down.sql")
