"""A host whose clock is wrong, or is set while it serves: the database's clock dates all that is stored."""

from __future__ import annotations

import ast
import asyncio
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import asyncpg
import draftline_server
import pytest
from draftline import Client
from draftline_server.store import clock
from support.aged_change_log import LOGGED, REQUEST, monday_of, unkept, weeks
from support.log_capture import logged
from support.polling import eventually
from support.server_process import Served, served
from support.server_process import draftline as command
from support.servers import RunningServer, serving

DAYS = 100
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
faked = pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not there (Debian: apt-get install faketime)")
# Where the wall clock of the host is read, and what for. None of it dates what is stored.
WALL_CLOCK = {
    "observability/access_log_writer.py": "the times of lines in the log",
    "doctor/examination.py": "what doctor compares with the database's, and certificates",
    "ops/top.py": "how long a service runs",
    "auth/authentication.py": "tokens",
    "auth/revocation.py": "tokens",
    "observability/spans.py": "traces",
    "rpc/tls.py": "certificates",
    "auth/tokens.py": "tokens that are made for development",
    "partitions/session.py": "the times of lines in the log",
    "rehearsal/report.py": "the times of reports",
    "rehearsal/completion.py": "the age of a report",
    "store/clock.py": "what is compared with the database's",
    "upstreams/http_auth.py": "the times of signatures for other systems",
    "upstreams/http_json/requests.py": "dates in Retry-After",
}
READS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


class Host:
    """The clocks of this host as the service reads them; the wall clock may be set."""

    def __init__(self) -> None:
        self.shift_s = 0.0

    def time(self) -> float:
        return time.time() + self.shift_s

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(clock, "time", made)
    return made


@pytest.fixture
def shift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Set how far the clocks of processes that are started from now on are off, while they run too."""
    path = tmp_path / "shift"
    path.write_text("+0d\n")
    for name, value in {
        "LD_PRELOAD": str(LIBRARIES[0]), "FAKETIME_TIMESTAMP_FILE": str(path), "FAKETIME_NO_CACHE": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return path.write_text


def change(service: Served | RunningServer, request_id: str) -> int:
    with Client(service.address, tenant_id="t", user="ada") as client:
        delta = {"n": 1}
        patched = client.patch_content("films", "m-1", delta, allow_missing=True, request_id=request_id)
        again = client.patch_content("films", "m-1", delta, allow_missing=True, request_id=request_id)
        assert patched.record.version == again.record.version
        (newest, *_) = client.changes("films", record_id="m-1")
        assert newest.version == patched.record.version
        for moment in (patched.record.create_time, patched.record.update_time, newest.create_time):
            assert abs(moment - datetime.now(UTC)) < timedelta(minutes=1)
        return int(patched.record.version)


def told(service: Served, path: str) -> str:
    (port,) = [entry["metrics_port"] for entry in service.log if "metrics_port" in entry]
    with urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.read().decode()


async def aged(connection: asyncpg.Connection) -> datetime:
    """A log without partitions, with changes and requests that are old, and too old."""
    now = await connection.fetchval("SELECT now()")
    await connection.execute("UPDATE draftline.change_log SET horizon = 1000000000000")
    await unkept(connection)
    await connection.execute(LOGGED, 2, 2, now - timedelta(days=80))
    await connection.execute(REQUEST, 2, now - timedelta(hours=23))
    await connection.execute(REQUEST, 3, now - timedelta(hours=25))
    return now


async def check_kept(connection: asyncpg.Connection, now: datetime) -> None:
    """Check that only expired data is deleted, and partitions are created, by the clock of the database."""
    await eventually(lambda: count(connection, "request WHERE created_at < now() - interval '24 hours'", 0))
    assert await count(connection, "request WHERE fingerprint = '' AND created_at < now() - interval '22 hours'", 2)
    assert await count(connection, "change WHERE created_at < now() - interval '79 days'", 1)
    first, this = monday_of(now - timedelta(days=80)), monday_of(now)
    assert await weeks(connection) == [first, *(this + timedelta(weeks=n) for n in range(5))]


async def count(connection: asyncpg.Connection, rows: str, wanted: int) -> bool:
    return bool(await connection.fetchval(f"SELECT count(*) = {wanted} FROM draftline.{rows}"))


@faked
@pytest.mark.parametrize("days", [DAYS, -DAYS])
async def test_host_that_starts_with_a_wrong_clock_harms_nothing(
    database_url: str, connection: asyncpg.Connection, shift: Callable[[str], int], days: int
) -> None:
    now = await aged(connection)
    shift(f"{days:+}d\n")
    with served(database_url=database_url, metrics_port=0) as service:
        await check_kept(connection, now)
        await asyncio.to_thread(change, service, str(uuid.uuid4()))
        await eventually(lambda: "clock_skew_detected" in str(service.log))
        way = "ahead of" if days > 0 else "behind"
        assert f" s {way} the database's" in await asyncio.to_thread(told, service, "/readyz")
        health = await asyncio.to_thread(command, "health", "--address", service.address)
        assert (health.returncode, health.stdout) == (0, "SERVING\n")
        assert f" s {way} the database's" in health.stderr
        (line,) = [line for line in told(service, "/metrics").splitlines() if line.startswith("draftline_clock_skew")]
        assert float(line.split()[1]) == pytest.approx(DAYS * 86_400, abs=60)
    await check_kept(connection, now)


@pytest.mark.parametrize("days", [DAYS, -DAYS])
async def test_clock_that_is_set_while_the_host_serves_harms_nothing(
    database_url: str, connection: asyncpg.Connection, host: Host, days: int
) -> None:
    request_id, now = str(uuid.uuid4()), await aged(connection)
    with logged() as events, serving(database_url, maintenance_interval_s=0.2) as service:
        before = await asyncio.to_thread(change, service, request_id)
        host.shift_s = days * 86_400
        assert await asyncio.to_thread(change, service, request_id) == before
        assert await asyncio.to_thread(change, service, str(uuid.uuid4())) == before
        await check_kept(connection, now)
        await eventually(lambda: "clock_skew_detected" in {event["event"] for event in events})
        host.shift_s = 0.0
        await eventually(lambda: "clock_skew_resolved" in {event["event"] for event in events})


def test_wall_clock_of_the_host_is_read_for_nothing_that_is_stored() -> None:
    root = Path(draftline_server.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in READS:
                found.add(str(path.relative_to(root)))
    assert found - WALL_CLOCK.keys() == set()
