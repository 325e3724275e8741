"""Run the migrations on the connection that draftline_server.ops.migrate opened."""

from alembic import context
from draftline_server.store.schema_problems import support_comment
from draftline_server.store.tables import SCHEMA, metadata

report = context.config.attributes.get("report")


def on_step(step, ctx, **_):
    """Store which services can use the schema of a completed step, and report the step."""
    for revision in step.destination_revision_ids:
        module = context.script.get_revision(revision).module
        comment = support_comment(revision, getattr(module, "oldest_service", revision))
        ctx.connection.exec_driver_sql(f"COMMENT ON TABLE {SCHEMA}.alembic_version IS '{comment}'")
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
