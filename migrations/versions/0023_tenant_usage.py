"""The use of each tenant, for ListTenants and quotas."""

from draftline_server.ops.migrate import run_script

revision = "0023"
down_revision = "0022"
oldest_service = "0022"  # it only adds a table


def upgrade() -> None:
    run_script("0023_tenant_usage.sql")


def downgrade() -> None:
    run_script("0023_down.sql")
