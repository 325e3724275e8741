"""`draftline demo`: a walk through every call, on a temporary PostgreSQL."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from draftline import Client
from rich.console import Console

from ..app import running
from ..demo import walkthrough as demo
from ..embedded_postgres.server import EmbeddedPostgres
from ..observability import logs
from ..ops import migrate
from ..ops.background_loop import threaded
from ..settings import AuthSettings, Settings, TlsSettings
from .app import reporting


@click.command("demo")
@click.pass_obj
@reporting
def demo_command(settings: Settings) -> None:
    """Walk through every call, on 3,201 films."""
    logs.configure(settings.log.format, "error")  # hides the warning that callers are not authenticated
    console = Console(highlight=False)
    with (
        tempfile.TemporaryDirectory(prefix="draftline-demo-") as folder,
        EmbeddedPostgres(Path(folder), durable=False, binaries=settings.database.postgres_bin) as postgres,
    ):
        # No authentication and no TLS: the service is temporary and listens on loopback.
        own = settings.model_copy(update={"auth": AuthSettings(), "tls": TlsSettings()}).replaced(
            host="127.0.0.1", port=0, metrics_port=None, access_log="none", drain_timeout_s=1.0
        )
        revision = migrate.upgrade(postgres.url)
        with (
            threaded(running(own, postgres.url, revision)) as app,
            Client(app.address, tenant_id="demo", user="ada") as ada,
            Client(app.address, tenant_id="demo", user="bob") as bob,
        ):
            console.print(f"A temporary service listens on {app.address}.", markup=False)
            demo.walk(ada, bob, console)
