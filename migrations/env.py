"""Run the migrations on the connection that draftline_server.ops.migrate opened."""

from alembic import context
from draftline_server.store.tables import SCHEMA, metadata

report = context.config.attributes.get("report")


def on_step(step, **_):
    """Report a completed step."""
    if report is not None:
        report(f"{step.up_revision_id} {step.up_revision.doc}" + ("" if step.is_upgrade else ", downgraded"))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
    transaction_per_migration=True,
    on_version_apply=on_step,
)
with context.begin_transaction():
    context.run_migrations()
