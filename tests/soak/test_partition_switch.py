"""A switchover to partitioned tables under load, killed in every phase: nothing is lost, and calls wait briefly."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from draftline import Client, DeclaredStatistic
from draftline import operations as op
from draftline.errors import DraftlineError, NotFoundError
from draftline_server.partitions.switch_state import Phase, read_state
from support.partition_switch import verified
from support.server_process import environment, invoked
from support.servers import cloned, serving
from support.soak_scale import IS_SOAK, length

KILLS = length("PARTITION_KILLS", 200, soak=200)
SEED = length("PARTITION_SEED", 7, soak=7)
KILLS_OF_STEP = 10
RECORDS = length("PARTITION_RECORDS", 200_000, soak=1_000_000)
READER_S = length("PARTITION_READER_S", 12.0, soak=12.0)
CALLS_PER_S = 100
WRITERS = 3
SHARED = 20  # records of each writer
KILLED = str(Path(__file__).parents[1] / "support" / "killed_partitions.py")
STATISTICS = [DeclaredStatistic("n", ("/n",)), DeclaredStatistic("own", ("/own",), ("/n",))]
pytestmark = pytest.mark.skipif(not IS_SOAK, reason="runs in `make soak`")


class Writer(threading.Thread):
    """Patch, draft, commit, import and delete for one tenant, and know what must be stored."""

    def __init__(self, address: str, number: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.tenant_id = f"tenant-{number}"
        self.counts = {f"film-{n}": 0 for n in range(SHARED)}
        self.drafts: dict[str, int] = {}
        self.imported: set[str] = set()
        self.calls = 0
        self.longest_s = 0.0
        self.errors: list[str] = []
        self._client = Client(address, tenant_id=self.tenant_id, user="ada")
        self._choice = random.Random(number)
        self._stop_event = stop
        fields = {"/n": "number", "/own": "number"}
        self._client.put_collection("films", fields=fields, orders=[["/n"]], statistics=STATISTICS)
        self._client.import_content("films", [(each, {"n": 0}) for each in self.counts])

    def run(self) -> None:
        actions = (self._patch, self._patch, self._draft, self._commit, self._discard, self._import, self._delete_book)
        while not self._stop_event.is_set():
            start = time.monotonic()
            try:
                self._choice.choice(actions)()
            except DraftlineError as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                return
            self.longest_s = max(self.longest_s, time.monotonic() - start)
            self.calls += 1
            time.sleep(0.01)
        self._client.close()

    def _record(self) -> str:
        return self._choice.choice(sorted(self.counts))

    def _patch(self) -> None:
        record_id = self._record()
        self._client.patch_content("films", record_id, operations=[op.increment("/n")])
        self.counts[record_id] += 1

    def _draft(self) -> None:
        record_id = self._record()
        self._client.save_draft("films", record_id, {"own": self.calls})
        self.drafts[record_id] = self.calls

    def _commit(self) -> None:
        if self.drafts:
            record_id = self._choice.choice(sorted(self.drafts))
            self._client.commit("films", record_ids=[record_id])
            del self.drafts[record_id]

    def _discard(self) -> None:
        if self.drafts:
            record_id = self._choice.choice(sorted(self.drafts))
            self._client.discard("films", record_ids=[record_id])
            del self.drafts[record_id]

    def _import(self) -> None:
        ids = [f"book-{self.calls}-{n}" for n in range(5)]
        self._client.import_content("books", [(each, {"n": 1}) for each in ids])
        self.imported.update(ids)

    def _delete_book(self) -> None:
        if self.imported:
            record_id = self._choice.choice(sorted(self.imported))
            with suppress(NotFoundError):
                self._client.delete_content("books", record_id)
            self.imported.discard(record_id)

    def problems(self, address: str) -> list[str]:
        with Client(address, tenant_id=self.tenant_id, user="ada") as client:
            films = {each.record_id: each.content for each in client.get_merged("films")}
            books = {each.record_id for each in client.get_merged("books")}
        found = [f"{each} has {films[each]['n']}" for each, n in self.counts.items() if films[each]["n"] != n]
        found += [f"draft of {each}" for each, own in self.drafts.items() if films[each].get("own") != own]
        return found + self.errors + ([f"{len(books ^ self.imported)} books"] if books != self.imported else [])


@contextmanager
def writing(address: str) -> Iterator[list[Writer]]:
    stop = threading.Event()
    writers = [Writer(address, number, stop) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        stop.set()
        for writer in writers:
            writer.join(60)


def phase(url: str) -> Phase:
    async def read() -> Phase:
        connection = await asyncpg.connect(url)
        found = (await read_state(connection)).phase
        await connection.close()
        return found

    return asyncio.run(read())


def killed(url: str, folder: Path, at: int, *arguments: str) -> bool:
    """Run a command that dies before a statement. Return whether it came to that."""
    done = subprocess.run(
        [sys.executable, KILLED, str(at), *arguments], env=environment(database_url=url), cwd=folder,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(f"{arguments} before statement {at}: {done.stderr}")
    return done.returncode == -signal.SIGKILL


STEPS: list[tuple[tuple[str, ...], Phase]] = [
    (("start", "--modulus", "4", "--tenant", "tenant-1"), Phase.COPIED),
    (("switch",), Phase.SWITCHED),
    (("rollback",), Phase.COPIED),
    (("switch",), Phase.SWITCHED),
    (("rollback",), Phase.COPIED),
    (("cleanup", "--yes"), Phase.NONE),
]


def test_killed_commands_lose_nothing(
    postgres_url: str, template: str, tmp_path: Path, report: Callable[[str], None]
) -> None:
    choice, kills, phases, cycles = random.Random(SEED), 0, set(), 0
    with cloned(postgres_url, template) as url, serving(url) as server:
        with writing(server.address) as writers:
            while kills < KILLS:
                cycles += 1
                for command, target in STEPS:
                    if command == ("switch",):
                        kills += killed(url, tmp_path, choice.randint(5, 30), "verify")
                        assert asyncio.run(verified(url)).is_ok
                    for _ in range(KILLS_OF_STEP):
                        if phase(url) is target:
                            break
                        kills += killed(url, tmp_path, choice.randint(3, 120), *command)
                        phases.add(phase(url))
                    if phase(url) is not target:
                        done = invoked("partitions", *command, "--log", str(tmp_path / "log"), database_url=url)
                        assert (done.returncode, phase(url)) == (0, target), done.stderr
                    if target in (Phase.COPIED, Phase.SWITCHED):
                        result = asyncio.run(verified(url))
                        assert result.is_ok, result.as_json()
        for writer in writers:
            assert writer.problems(server.address) == []
        assert invoked("check", database_url=url).returncode == 0
    calls = sum(writer.calls for writer in writers)
    longest = max(writer.longest_s for writer in writers)
    report(
        f"{kills} kills in {cycles} cycles left the phases {', '.join(sorted(phases))}; {calls:,} calls meanwhile, "
        f"nothing lost, the longest {longest * 1000:,.0f} ms"
    )


def test_switch_beside_a_long_reader_holds_up_calls_briefly(
    postgres_url: str, template: str, tmp_path: Path, report: Callable[[str], None]
) -> None:
    latencies: list[float] = []
    stop = threading.Event()

    def call(address: str) -> None:
        with Client(address, tenant_id="acme", user="ada") as client:
            while not stop.is_set():
                start = time.monotonic()
                client.patch_content("films", f"film-{random.randrange(1000)}", {"n": start})
                latencies.append(time.monotonic() - start)
                time.sleep(max(0.0, 4 / CALLS_PER_S - latencies[-1]))

    async def hold(url: str) -> None:
        connection = await asyncpg.connect(url)
        async with connection.transaction():
            await connection.execute("SELECT FROM draftline.record LIMIT 1")
            await asyncio.sleep(READER_S)
        await connection.close()

    log = tmp_path / "log"
    with cloned(postgres_url, template) as url, serving(url) as server:
        with Client(server.address, tenant_id="acme", user="ada", timeout=600.0) as client:
            for start in range(0, RECORDS, 50_000):
                rows = ((f"film-{n}", {"n": n}) for n in range(start, min(RECORDS, start + 50_000)))
                client.import_content("films", rows)
        threads = [threading.Thread(target=call, args=(server.address,)) for _ in range(4)]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        try:
            for command in (("start",), ("verify",)):
                done = invoked("partitions", *command, "--log", str(log), database_url=url)
                assert done.returncode == 0, done.stderr
            copied_s, before = time.monotonic() - begun, len(latencies)
            copying = sorted(latencies)
            holder = threading.Thread(target=lambda: asyncio.run(hold(url)))
            holder.start()
            time.sleep(1)
            done = invoked("partitions", "switch", "--log", str(log), database_url=url)
            assert done.returncode == 0, done.stderr
            holder.join()
            time.sleep(2)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert asyncio.run(verified(url)).is_ok
    switched = [line for line in log.read_text().splitlines() if '"SWITCHED"' in line and "locked_ms" in line]
    longest_ms, p99_ms = max(latencies[before:]) * 1000, copying[len(copying) * 99 // 100] * 1000
    report(
        f"{RECORDS:,} records copied and compared in {copied_s:.0f} s, p99 of calls {p99_ms:.0f} ms, "
        f"longest {copying[-1] * 1000:.0f} ms; the switch: {switched[-1]}; "
        f"the longest call then {longest_ms:.0f} ms"
    )
