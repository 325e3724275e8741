"""The embedded PostgreSQL of a command: with the data of `draftline serve`, or a temporary one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module

import structlog

from ..embedded_postgres.memory_folder import memory_folder
from ..embedded_postgres.server import EmbeddedPostgres, EmbeddedPostgresError, InUseError
from ..embedded_postgres.socket_path import running_url
from ..settings import Settings
from ..store.pool_settings import connections_of

NEW_DATABASE = "draftline_server.ops.new_database"
MEMORY_ROOM = 1024**3  # bytes that must be free for a temporary database in memory
OTHERS = 20  # connections that the embedded PostgreSQL keeps for other clients and the superuser


@contextmanager
def embedded_url(settings: Settings, *, migrated: bool, create: bool) -> Iterator[str]:
    """Start the embedded PostgreSQL, or use the running one, and yield its URL; see `database_url`."""
    own = settings.database
    log = structlog.get_logger()
    embedded = EmbeddedPostgres(own.data_dir, binaries=own.postgres_bin, connections=_connections(settings))
    if own.data_dir.exists() and not own.data_dir.is_dir():
        raise EmbeddedPostgresError(f"{own.data_dir} is not a directory: correct DRAFTLINE_DATA_DIR")
    if not create and not embedded.exists:
        raise EmbeddedPostgresError(f"there is no database in {own.data_dir}; `draftline serve` creates one")
    with ExitStack() as stack:
        try:
            url = stack.enter_context(embedded).url
            log.info("postgres_started", data_dir=str(own.data_dir))
        except InUseError:
            running = None if create else running_url(own.data_dir)
            if running is None:
                raise
            url = running
        if migrated:
            from ..ops import migrate  # noqa: PLC0415  slow, and not needed for a temporary database

            log.info("migrated", revision=migrate.upgrade(url))
            apply_layout(settings, url)
        yield url


def apply_layout(settings: Settings, url: str) -> None:
    """Partition the tables of a migrated database if the settings say so and it is empty."""
    if not settings.database.use_partitioned_tables:
        return
    from ..partitions.conversion import partition_if_empty  # noqa: PLC0415  slow, and seldom needed

    if asyncio.run(partition_if_empty(url)):
        structlog.get_logger().info("tables_partitioned")


@contextmanager
def temporary_url(settings: Settings, needed_later: str) -> Iterator[str]:
    """Start a new embedded PostgreSQL, create the schema and yield its URL; delete its data at the end.

    It is not durable: a crash of the machine loses its data, which a test does not miss. It is in memory where there is
    room. The module `needed_later` is imported by another thread meanwhile, because both take about as long.
    """
    connections, binaries = _connections(settings), settings.database.postgres_bin
    creates = threading.Event()

    def import_all() -> None:
        try:
            import_module(NEW_DATABASE)
        finally:
            creates.set()
        import_module(needed_later)

    importing = threading.Thread(target=import_all, daemon=True)
    importing.start()
    with (
        memory_folder("draftline-temporary-", MEMORY_ROOM) as folder,
        EmbeddedPostgres(folder, durable=False, binaries=binaries, connections=connections) as postgres,
    ):
        creates.wait()  # two threads must not import the same modules at once
        from ..ops.new_database import create_schema  # noqa: PLC0415  slow, and imported while PostgreSQL starts

        asyncio.run(create_schema(postgres.url))
        importing.join()
        apply_layout(settings, postgres.url)
        yield postgres.url


def _connections(settings: Settings) -> int:
    return max(100, settings.server.workers * connections_of(settings.database.pool_size) + OTHERS)
