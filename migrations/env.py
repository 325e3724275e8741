"""Runs the migrations on the connection that draftline_server.ops.migrate opened."""

from alembic import context
from draftline_server.store.tables import SCHEMA, metadata

tell = context.config.attributes.get("tell")


def on_step(step, **_):
    """Tells of a step that is done."""
    if tell is not None:
        tell(f"{step.up_revision_id} {step.up_revision.doc}" + ("" if step.is_upgrade else ", taken back"))


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
