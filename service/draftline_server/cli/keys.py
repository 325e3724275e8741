"""`draftline token` and `draftline service-key`: credentials for callers."""

from __future__ import annotations

import json

import click

from ..auth import tokens
from ..auth.keys import new_service_key, secret_key
from ..auth.permissions import NAMED_ONLY, Permission
from ..settings import Settings
from ..wiring import token_rules
from .app import json_option, reporting
from .terminal_text import echo_result

tenant_option = click.option(
    "--tenant", "tenants", required=True, multiple=True, help="Tenant that it is valid for; repeat for several."
)
scope_option = click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([permission.value for permission in Permission]),
    default=[permission.value for permission in Permission if permission not in NAMED_ONLY],
    help=f"Permission that it grants; repeat for several. Default: all except {' and '.join(sorted(NAMED_ONLY))}.",
)


@click.command("token")
@click.option("--user", required=True, help="The user that it authenticates.")
@tenant_option
@scope_option
@click.option("--lifetime", "lifetime_s", type=int, default=3600, show_default=True, help="Seconds until it expires.")
@json_option
@click.pass_obj
@reporting
def token_command(
    settings: Settings, *, user: str, tenants: tuple[str, ...], scopes: tuple[str, ...], lifetime_s: int, as_json: bool
) -> None:
    """Create a development token.

    It is signed with the secret in DRAFTLINE_AUTH_SECRET_FILE, for DRAFTLINE_AUTH_ISSUER and DRAFTLINE_AUTH_AUDIENCE.
    Commands read it from DRAFTLINE_TOKEN.
    """
    if settings.auth.secret_file is None:
        raise ValueError("DRAFTLINE_AUTH_SECRET_FILE is not set; it names the secret that signs tokens")
    secret, rules = settings.auth.secret_file.read_bytes(), token_rules(settings.auth)
    try:
        secret_key(secret)
    except ValueError as error:
        raise ValueError(f"DRAFTLINE_AUTH_SECRET_FILE {error}") from None
    token = tokens.development_token(secret, rules, user=user, tenants=tenants, scopes=scopes, lifetime_s=lifetime_s)
    result = {"token": token, "user": user, "tenants": tenants, "scopes": scopes, "expires_in_s": lifetime_s}
    echo_result(result, token, as_json=as_json)


@click.command("service-key")
@click.argument("name")
@click.option("--tenant", "tenants", multiple=True, help="Tenant that it is valid for; repeat for several.")
@click.option("--all-tenants", is_flag=True, help="Make it valid for every tenant, those of the future included.")
@scope_option
@json_option
@reporting
def service_key_command(
    name: str, tenants: tuple[str, ...], all_tenants: bool, scopes: tuple[str, ...], as_json: bool
) -> None:
    """Create a service key.

    The service NAME acts as the user service:NAME. The key is shown only once. Add the entry, which contains a hash of
    the key, to the file of DRAFTLINE_AUTH_SERVICE_KEYS_FILE, {"keys": [...]}. A service may have several keys, so that
    they can be rotated.
    """
    if all_tenants == bool(tenants):
        raise click.UsageError("pass either --tenant or --all-tenants")
    key, entry = new_service_key(name, tenants, scopes, all_tenants=all_tenants)
    echo_result({"key": key, "entry": json.loads(entry)}, f"key    {key}\nentry  {entry}", as_json=as_json)
