"""Authentication and TLS settings, for commands that do not start the server."""

from __future__ import annotations

from collections.abc import Sequence

from .auth import tokens
from .auth.keys import new_service_key
from .auth.permissions import Permission
from .auth.tokens import TokenRules
from .rpc import health_client
from .rpc.health_client import ChannelSecurity as Security
from .rpc.health_client import channel_security as security
from .rpc.health_client import check_health as health_state
from .rpc.tls import TlsFiles
from .settings import Settings

__all__ = [
    "LOOPBACK", "PERMISSIONS", "Security", "development_token", "health_state", "new_service_key", "own_security",
    "security", "tls_files", "token_rules",
]  # fmt: skip

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
PERMISSIONS = [permission.value for permission in Permission]


def token_rules(settings: Settings) -> TokenRules:
    return TokenRules(
        settings.auth_issuer,
        settings.auth_audience,
        settings.auth_max_lifetime_s,
        settings.auth_leeway_s,
        settings.auth_user_claim,
        settings.auth_tenants_claim,
        settings.auth_permissions_claim,
    )


def tls_files(settings: Settings) -> TlsFiles | None:
    if settings.tls_certificate_file is None or settings.tls_key_file is None:
        return None
    return TlsFiles(settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file)


def development_token(
    settings: Settings, *, user: str, tenants: Sequence[str], scopes: Sequence[str], lifetime_s: int
) -> str:
    """Return a token signed with the shared secret of the settings.

    Raises ValueError if the settings name no secret, or if the token would be rejected.
    """
    if settings.auth_secret_file is None:
        raise ValueError("DRAFTLINE_AUTH_SECRET_FILE names no secret to sign with")
    secret, rules = settings.auth_secret_file.read_bytes(), token_rules(settings)
    return tokens.development_token(secret, rules, user=user, tenants=tenants, scopes=scopes, lifetime_s=lifetime_s)


def own_security(settings: Settings) -> Security:
    """Return the channel security for reaching the service that these settings configure."""
    files = tls_files(settings)
    return Security() if files is None else health_client.pinned_security(files)
