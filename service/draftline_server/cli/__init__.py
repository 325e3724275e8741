"""The command line, `draftline COMMAND`; each command is in its own module."""

from __future__ import annotations

from .app import main

main.add_section("Run the service", {
    "serve": "serve:serve_command",
    "migrate": "migrate:migrate_command",
    "health": "health:health_command",
    "doctor": "doctor:doctor_command",
    "top": "top:top_command",
    "settings": "settings_list:settings_command",
})  # fmt: skip
main.add_section("Maintain the data", {
    "check": "check:check_command",
    "partitions": "partitions:partitions_group",
})  # fmt: skip
main.add_section("Use a service", {
    "list": "records:list_command",
    "discard": "records:discard_command",
    "draft-users": "draft_users:draft_users_command",
    "import": "imports:import_command",
    "update": "matching:update_command",
    "delete": "matching:delete_command",
    "patch": "patches:patch_command",
    "collections": "collections:collections_group",
    "generate": "generation:generate_command",
    "stats": "statistics:stats_command",
    "purge": "purge:purge_command",
    "sync": "sync:sync_group",
    "tenants": "tenants:tenants_command",
    "tenant-quotas": "tenants:tenant_quotas_command",
})  # fmt: skip
main.add_section("Issue credentials", {"token": "keys:token_command", "service-key": "keys:service_key_command"})
main.add_section("Try it", {"demo": "demo:demo_command"})

__all__ = ["main"]
