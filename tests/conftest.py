"""Every test runs on a real PostgreSQL: a template is migrated once, and cloned for tests that need their own database.

Under pytest-xdist each worker has its own PostgreSQL, or its own template in a given PostgreSQL.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import grpc
import pytest
from draftline.v1 import collection_pb2_grpc, content_pb2_grpc
from draftline_server.cli import client as command_client
from draftline_server.embedded_postgres.memory_folder import memory_folder
from draftline_server.embedded_postgres.server import EmbeddedPostgres
from draftline_server.observability import logs
from draftline_server.ops import migrate
from draftline_server.settings import Settings
from draftline_server.store.connections import Connections
from hypothesis import settings
from support.partitioned import IS_PARTITIONED, partition_tables_at
from support.servers import RunningServer, beside, cloned, on_database, run_sql, serving
from support.soak_scale import IS_SOAK, examples
from support.tenant_binding import Sent

MEMORY_ROOM = 8 * 1024**3  # bytes that must be free in memory, for all processes of a run

# Importing and collecting the tests makes many objects and no garbage.
gc.disable()

# Without a deadline: how long an example takes depends on the machine. The suite tries the same examples in each run,
# so that it fails for a change and not by chance; a soak run tries new ones.
settings.register_profile("suite", max_examples=examples(60), deadline=None, derandomize=not IS_SOAK)
settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def _quiet_logs() -> None:
    logs.configure("console", "error")
    logging.getLogger("asyncio").addFilter(_is_no_shared_poller)


def _is_no_shared_poller(record: logging.LogRecord) -> bool:
    """Drop a harmless message: the event loops of one process share the poller of grpc.aio, and one finds it empty."""
    return "PollerCompletionQueue._handle_events" not in record.getMessage()


@pytest.fixture(scope="session", autouse=True)
def sent() -> Iterator[Sent]:
    """Collect the statements that any server or store of this process sends to PostgreSQL in the whole run."""
    everything, observe = Sent(), Connections.observe

    def observed(connections: Connections, sql: str, error: BaseException | None) -> None:
        everything.add(sql)
        observe(connections, sql, error)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Connections, "observe", observed)
        yield everything
    everything.check()


@pytest.fixture(autouse=True)
def _walls(sent: Sent) -> Iterator[None]:
    """Fail a test during which a statement was sent that is not bound to one tenant."""
    yield
    sent.check()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid} differs between the processes of a run: give the test `ids`")


def pytest_collection_finish() -> None:
    """Exclude what was collected from garbage collection, which would scan it again and again."""
    gc.freeze()
    gc.enable()


def pytest_xdist_auto_num_workers() -> int:
    """Return two more workers than cores for `-n auto`: tests wait for half of their time."""
    return (os.cpu_count() or 1) + 2


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A folder in memory, for databases."""
    with memory_folder("draftline-tests-", MEMORY_ROOM) as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres_url(memory: Path) -> Iterator[str]:
    """A PostgreSQL for this run: DRAFTLINE_DATABASE_URL's, or the embedded one without fsync."""
    given = Settings().database.url
    if given:
        yield given
        return
    with EmbeddedPostgres(memory / "shared", durable=False) as postgres:
        yield postgres.url


@pytest.fixture(scope="session")
def template(postgres_url: str, worker_id: str) -> Iterator[str]:
    """The name of a migrated, empty database; its tables are partitioned if the settings say so."""
    name = f"draftline_template_{worker_id}"
    run_sql(postgres_url, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name} TEMPLATE template0")
    beside(migrate.upgrade, on_database(postgres_url, name))
    if IS_PARTITIONED:
        beside(partition_tables_at, on_database(postgres_url, name))
    yield name
    run_sql(postgres_url, f"DROP DATABASE {name}")


@pytest.fixture(scope="session")
def _prepared_data(memory: Path) -> Path:
    folder = memory / "prepared"
    with EmbeddedPostgres(folder, durable=False) as postgres:
        beside(migrate.upgrade, postgres.url)
    return folder


@pytest.fixture
def data_dir(memory: Path, _prepared_data: Path) -> Iterator[Path]:
    """A data directory with a migrated, empty database: a service starts on it in a third of the time."""
    folder = memory / uuid.uuid4().hex / "data"
    yield Path(shutil.copytree(_prepared_data, folder))
    shutil.rmtree(folder.parent, ignore_errors=True)  # a server that was killed may still end its PostgreSQL


@pytest.fixture
def database_url(postgres_url: str, template: str) -> Iterator[str]:
    """A migrated, empty database for one test."""
    with cloned(postgres_url, template) as url:
        yield url


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database that only this test uses."""
    connected = await asyncpg.connect(database_url)
    yield connected
    await connected.close()


@pytest.fixture(scope="session")
def server(postgres_url: str, template: str) -> Iterator[RunningServer]:
    """The server that most tests share, each with its own tenant."""
    with cloned(postgres_url, template) as url, serving(url) as running:
        yield running


@pytest.fixture(scope="session")
def replacing_server(postgres_url: str, template: str) -> Iterator[RunningServer]:
    """A shared server with partial updates switched off: it fetches, merges and replaces."""
    with cloned(postgres_url, template) as url, serving(url, enable_partial_updates=False) as running:
        yield running


@pytest.fixture(scope="session")
def server_address(server: RunningServer) -> str:
    return server.address


@pytest.fixture
def tenant_id() -> str:
    """A tenant that no other test uses."""
    return f"tenant-{uuid.uuid4().hex[:12]}"


# pytest-grpc: its blocking channel and stubs, on our own server (its fake one does not speak gRPC).


@pytest.fixture(scope="module")
def grpc_addr(server: RunningServer) -> str:
    return server.address


@pytest.fixture(scope="module")
def grpc_server() -> None:
    """The server runs already."""


@pytest.fixture(scope="module")
def grpc_stub_cls() -> type:
    return content_pb2_grpc.ContentServiceStub


@pytest.fixture(scope="module")
def collection_stub(grpc_channel: grpc.Channel) -> collection_pb2_grpc.CollectionServiceStub:
    return collection_pb2_grpc.CollectionServiceStub(grpc_channel)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands that run in this process retry a call as often as ever, with short pauses."""
    monkeypatch.setattr(
        command_client, "RETRY", replace(command_client.RETRY, max_backoff_s=0.01, initial_backoff_s=0.01)
    )


@pytest.fixture(scope="session")
def films() -> Path:
    """The films that the project ships."""
    return Path(__file__).parent.parent / "examples" / "movies.json"
