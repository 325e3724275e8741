"""The command line, `draftline COMMAND`; each command is in its own module."""

from __future__ import annotations

from .app import main

main.add_section("Run the service", {
    "serve": ("serve:serve_command", "Serve until Ctrl-C or SIGTERM."),
    "migrate": ("migrate:migrate_command", "Migrate the database to the schema of this version."),
    "health": ("health:health_command", "Report whether the service accepts calls."),
    "doctor": ("doctor:doctor_command", "Find problems, and report how to fix them."),
    "top": ("top:top_command", "Show live rates, latencies, pool and locks."),
    "settings": ("settings_list:settings_command", "List the settings with their values, sources and defaults."),
})  # fmt: skip
main.add_section("Maintain the data", {
    "check": ("check:check_command", "Find inconsistent drafts, entries, statistics and references."),
    "partitions": ("partitions:partitions_group", "Partition the tables by tenant, beside a running service."),
})  # fmt: skip
main.add_section("Use a service", {
    "list": ("records:list_command", "Print records with your drafts applied."),
    "discard": ("records:discard_command", "Discard your drafts, or those of another user."),
    "draft-users": ("draft_users:draft_users_command", "Print the users that have drafts, and their ages."),
    "import": ("imports:import_command", "Import a file into a collection: all of it, or nothing."),
    "update": ("matching:update_command", "Patch all records that match a filter."),
    "delete": ("matching:delete_command", "Delete all records that match a filter."),
    "patch": ("patches:patch_command", "Apply the patches of a file, each by itself."),
    "collections": ("collections:collections_group", "List, show and put collection specs."),
    "generate": ("generation:generate_command", "Write typed models or a JSON Schema from a collection spec."),
    "stats": ("statistics:stats_command", "Print exact statistics of groups of records."),
    "purge": ("purge:purge_command", "Remove deleted records of a collection permanently."),
    "sync": ("sync:sync_group", "Run the workers of syncs, or look after a sync."),
    "tenants": ("tenants:tenants_command", "Print the tenants and what each uses, as of the last count."),
    "tenant-quotas": ("tenants:tenant_quotas_command", "Set the quotas of one tenant."),
})  # fmt: skip
main.add_section("Issue credentials", {
    "token": ("keys:token_command", "Create a development token."),
    "service-key": ("keys:service_key_command", "Create a service key."),
})  # fmt: skip
main.add_section("Try it", {
    "demo": ("demo:demo_command", "Walk through every call, on 3,201 films."),
})  # fmt: skip

__all__ = ["main"]
