"""`draftline demo`: a walk through every call, or the story of a sync, on a temporary PostgreSQL."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from draftline import Client

from ..app import running
from ..demo import sync_story, walkthrough
from ..embedded_postgres.server import EmbeddedPostgres
from ..observability import logs
from ..ops import migrate
from ..ops.background_loop import threaded
from ..settings import AuthSettings, Settings, TlsSettings
from .app import reporting
from .embedded_database import apply_layout
from .terminal_text import TerminalConsole


@click.command("demo")
@click.option("--sync", "is_sync", is_flag=True, help="Synchronize a collection with a toy system of record instead.")
@click.pass_obj
@reporting
def demo_command(settings: Settings, *, is_sync: bool) -> None:
    """Walk through every call, on 3,201 films."""
    logs.configure(settings.log.format, "error")  # hides the warning that callers are not authenticated
    console = TerminalConsole(highlight=False)
    with tempfile.TemporaryDirectory(prefix="draftline-demo-") as folder:
        if is_sync:
            _sync(settings, Path(folder), console)
        else:
            _walk(settings, Path(folder), console)


def _walk(settings: Settings, folder: Path, console: TerminalConsole) -> None:
    with (
        _service(settings, folder) as address,
        Client(address, tenant_id="demo", user="ada") as ada,
        Client(address, tenant_id="demo", user="bob") as bob,
    ):
        console.print(f"A temporary service listens on {address}.", markup=False)
        walkthrough.walk(ada, bob, console)


def _sync(settings: Settings, folder: Path, console: TerminalConsole) -> None:
    with sync_story.toy_system() as (system, port):
        endpoint = {"kind": "grpc", "address": f"127.0.0.1:{port}", "tls": None, "networks": ["127.0.0.0/8"]}
        upstreams = folder / "upstreams.json"
        upstreams.write_text(json.dumps({"toy": {**endpoint, "tenants": ["demo"]}}))
        with (
            _service(settings, folder / "data", sync="inline", upstreams_file=upstreams) as address,
            Client(address, tenant_id="demo", user="ada") as client,
        ):
            console.print(f"A temporary service listens on {address}, a toy system on port {port}.", markup=False)
            sync_story.Story(client, system, console).tell()


@contextmanager
def _service(settings: Settings, folder: Path, **others: Any) -> Iterator[str]:
    """Run a service with a temporary database, and yield its address.

    No authentication and no TLS: the service is temporary and listens on loopback.
    """
    own = settings.model_copy(update={"auth": AuthSettings(), "tls": TlsSettings()}).replaced(
        host="127.0.0.1", port=0, metrics_port=None, access_log="none", drain_timeout_s=1.0, **others
    )
    with EmbeddedPostgres(folder, durable=False, binaries=settings.database.postgres_bin) as postgres:
        revision = migrate.upgrade(postgres.url)
        apply_layout(own, postgres.url)
        with threaded(running(own, postgres.url, revision)) as app:
            yield app.address
