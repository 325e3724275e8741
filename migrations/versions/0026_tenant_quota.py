"""The quotas of single tenants, which override those of the settings."""

from draftline_server.ops.migrate import run_script

revision = "0026"
down_revision = "0025"
oldest_service = "0025"  # it only adds a table


def upgrade() -> None:
    run_script("0026_tenant_quota.sql")


def downgrade() -> None:
    run_script("0026_down.sql")
