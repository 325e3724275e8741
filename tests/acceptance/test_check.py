"""`draftline check` finds what no write of the service brings about, and mends it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from draftline import Client, DeclaredRelation, DraftEdit
from draftline_server.background.draft_integrity import DraftCheck
from draftline_server.background.leader import run_once
from draftline_server.ops import revisions
from draftline_server.store.advisory_locks import AdvisoryLock
from draftline_server.store.database import Database
from draftline_server.store.draft_integrity import PAGE, DraftChecker, DraftDifference
from draftline_server.store.leases import Leases
from draftline_server.store.pool_settings import PoolSettings
from support.log_capture import logged
from support.server_process import invoked, served
from support.servers import cloned, run_sql, serving

DRAFTS = 2 * PAGE + 100
PLANT = "UPDATE draftline.draft SET merged = '{\"n\": -1}' WHERE record_id = '%s'"
ORPHAN = "DELETE FROM draftline.record WHERE record_id = '%s'"


@pytest.fixture(scope="module")
def filled(postgres_url: str, template: str) -> Iterator[str]:
    """The name of a database with a draft of each kind and, of another tenant's user, more than a page of them."""
    with cloned(postgres_url, template) as url:
        with serving(url) as server:
            fill(server.address)
        yield urlsplit(url).path.removeprefix("/")


def fill(address: str) -> None:
    with Client(address, tenant_id="acme", user="ada") as client:
        client.import_content("movies", [("m-1", {"n": 1}), ("m-2", {"n": 2}), ("m-3", {"n": 3})])
        client.save_draft("movies", "m-1", {"a": 1})
        client.save_draft("movies", "m-2", delete=True)
        client.save_draft("movies", "m-4", create={"n": 4})
    with Client(address, tenant_id="zeta", user="bob") as client:
        ids = [f"z-{number:05}" for number in range(DRAFTS)]
        client.import_content("movies", [(record_id, {"n": 1}) for record_id in ids])
        for start in range(0, DRAFTS, 1_000):
            edits = [DraftEdit(record_id, {"a": 1}) for record_id in ids[start : start + 1_000]]
            client.save_drafts("movies", edits, omit_content=True)


@pytest.fixture
def url(postgres_url: str, filled: str) -> Iterator[str]:
    with cloned(postgres_url, filled) as made:
        yield made


def test_check_of_drafts_in_step_finds_nothing(url: str) -> None:
    done = invoked("check", database_url=url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{DRAFTS + 3:,} drafts checked, 0 differ, 0 remain\n"


def test_planted_difference_is_told_repaired_and_gone(url: str) -> None:
    run_sql(url, *(PLANT % record_id for record_id in ("m-1", "m-2", "m-4", f"z-{DRAFTS - 1:05}")))
    found = invoked("check", database_url=url)
    assert found.returncode == 1
    assert found.stdout.splitlines() == [
        *(
            f'the draft of "{record_id}" in "movies", by "{user}" of "{tenant}", differs from its edit'
            for record_id, user, tenant in (
                ("m-1", "ada", "acme"),
                ("m-2", "ada", "acme"),
                ("m-4", "ada", "acme"),
                (f"z-{DRAFTS - 1:05}", "bob", "zeta"),
            )
        ),
        f"{DRAFTS + 3:,} drafts checked, 4 differ, 4 remain",
    ]
    repaired = invoked("check", "--repair", database_url=url)
    assert repaired.returncode == 0
    assert repaired.stdout.splitlines()[0].endswith("differs from its edit: repaired")
    assert repaired.stdout.splitlines()[-1] == f"{DRAFTS + 3:,} drafts checked, 4 differ, 4 repaired, 0 remain"
    assert invoked("check", database_url=url).returncode == 0
    with serving(url) as server, Client(server.address, tenant_id="acme", user="ada") as client:
        seen = {each.record_id: each.content for each in client.get_merged("movies", view="drafts_only")}
    assert seen == {"m-1": {"n": 1, "a": 1}, "m-2": {"n": 2}, "m-4": {"n": 4}}


def test_orphan_is_told_and_remains(url: str) -> None:
    run_sql(url, PLANT % "m-2", ORPHAN % "m-1")
    done = invoked("check", "--repair", "--json", database_url=url)
    assert done.returncode == 1
    key = {"tenant_id": "acme", "user_id": "ada", "collection": "movies"}
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {**key, "record_id": "m-1", "is_orphan": True, "repaired": False},
        {**key, "record_id": "m-2", "is_orphan": False, "repaired": True},
        {"checked": DRAFTS + 3, "differences": 2, "repaired": 1, "remaining": 1},
    ]


def test_ids_with_control_characters_are_shown_as_escapes(url: str) -> None:
    record_id = "\u202edlog"  # a terminal would show what follows from right to left
    with serving(url) as server, Client(server.address, tenant_id="acme", user="ada") as client:
        client.import_content("movies", [(record_id, {"n": 1})])
        client.save_draft("movies", record_id, {"a": 1})
    run_sql(url, PLANT % record_id)
    found = invoked("check", database_url=url).stdout
    assert found.startswith(r'the draft of "\u202edlog" in "movies", by "ada" of "acme", differs from its edit')


WRONG_ENTRIES = (
    "DELETE FROM draftline.order_entry WHERE record_id = 'm-1'",
    "UPDATE draftline.order_entry SET key = 'x' WHERE record_id = 'm-2'",
    "DELETE FROM draftline.draft_order_entry WHERE record_id = 'm-4'",
    "INSERT INTO draftline.draft_order_entry VALUES ('acme', 'eve', 'movies', 12345, 'x', 'm-3')",
)


def test_planted_wrong_entries_are_reported_repaired_and_gone(url: str) -> None:
    with serving(url) as server, Client(server.address, tenant_id="acme", user="ada") as client:
        client.put_collection("movies", fields={"/n": "number"})
    assert invoked("check", database_url=url).returncode == 0
    run_sql(url, *WRONG_ENTRIES)
    found = invoked("check", database_url=url)
    assert found.returncode == 1
    assert found.stdout.splitlines() == [
        'an order entry of "m-1" in "movies" of "acme" is missing',
        'an order entry of "m-2" in "movies" of "acme" is missing',
        'an order entry of the draft of "m-4" in "movies", by "ada", of "acme" is missing',
        'an order entry of "m-2" in "movies" of "acme" is unexpected',
        'an order entry of the draft of "m-3" in "movies", by "eve", of "acme" is unexpected',
        f"{DRAFTS + 3:,} drafts checked, 5 differ, 5 remain",
    ]
    repaired = invoked("check", "--repair", "--json", database_url=url)
    assert repaired.returncode == 0
    assert json.loads(repaired.stdout.splitlines()[-1])["repaired"] == 5
    assert invoked("check", database_url=url).returncode == 0


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = Database(url)
    await opened.open()
    yield opened
    await opened.close()


async def test_check_reads_a_page_at_a_time(database: Database) -> None:
    seen: list[str] = []
    database.observers.append(lambda sql, _: seen.append(sql))
    checker = DraftChecker(database)
    assert [each async for each in checker.differences()] == []
    assert checker.checked == DRAFTS + 3
    assert len([sql for sql in seen if "check_drafts" in sql]) == DRAFTS // PAGE + 1


async def test_service_counts_what_it_finds_and_leaves_the_mending(url: str, database: Database) -> None:
    run_sql(url, PLANT % "m-2", ORPHAN % "m-1")
    check = DraftCheck(DraftChecker(database), 3600)
    with logged() as events:
        for _ in range(2):
            await run_once(Leases(database), check)
    assert (check.completed, check.mismatches) == (2, 4)
    assert [(event["event"], event["count"]) for event in events] == [("draft_mismatch", 2)] * 2


async def test_service_checks_nothing_while_another_process_does(url: str, database: Database) -> None:
    run_sql(url, PLANT % "m-2")
    check = DraftCheck(DraftChecker(database), 3600)
    other = await asyncpg.connect(url)
    await other.execute(f"SELECT pg_advisory_lock({AdvisoryLock.DRAFT_CHECK:d})")
    await run_once(Leases(database), check)
    assert (check.completed, check.mismatches) == (0, 0)
    await other.close()
    await run_once(Leases(database), check)
    assert (check.completed, check.mismatches) == (1, 1)


async def test_service_with_one_connection_checks_over_that(url: str) -> None:
    single = Database(url, PoolSettings(size=1))
    await single.open()
    check = DraftCheck(DraftChecker(single), 3600)
    await run_once(Leases(single), check)
    assert check.completed == 1
    await single.close()


async def test_repair_of_a_draft_that_ended_meanwhile_does_nothing(database: Database) -> None:
    checker = DraftChecker(database)
    assert not await checker.repair(DraftDifference("acme", "eve", "movies", "m-1", is_orphan=False))


def test_check_of_a_database_that_was_never_migrated_is_refused(postgres_url: str) -> None:
    with cloned(postgres_url, "template0") as empty:
        done = invoked("check", database_url=empty)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: the database was never migrated, or its schema was dropped: ")


def test_check_of_the_embedded_database_while_it_is_served(data_dir: Path) -> None:
    with served(data_dir=data_dir, metrics_port=0) as service:
        with Client(service.address, tenant_id="acme") as client:
            client.save_draft("movies", "m-1", create={"n": 1})
        done = invoked("check", data_dir=data_dir)
        assert (done.returncode, done.stdout) == (0, "1 drafts checked, 0 differ, 0 remain\n")
        refused = invoked("migrate", data_dir=data_dir)
        assert (refused.returncode, "is in use by another Draftline" in refused.stderr) == (1, True)


def test_check_in_a_folder_without_data_makes_none(tmp_path: Path) -> None:
    done = invoked("check", data_dir=tmp_path / "data", log_level="error")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: there is no database in ")
    assert not (tmp_path / "data").exists()


def test_check_of_the_embedded_database(tmp_path: Path) -> None:
    migrated = invoked("migrate", "--json", data_dir=tmp_path)
    assert (migrated.returncode, json.loads(migrated.stdout)) == (0, {"revision": revisions.head()})
    done = invoked("check", data_dir=tmp_path, log_level="error")
    assert (done.returncode, done.stdout) == (0, "0 drafts checked, 0 differ, 0 remain\n")


def test_references_without_a_record_are_listed_and_remain(url: str) -> None:
    with serving(url) as server, Client(server.address, tenant_id="acme", user="ada") as client:
        client.import_content("films", {"alien": {"director": "none"}}.items())
        client.put_collection(
            "films", relations=[DeclaredRelation("director", "/director", "people", integrity="check")]
        )
    found = invoked("check", "--repair", "--json", database_url=url)
    assert found.returncode == 1
    reference, counts = map(json.loads, found.stdout.splitlines())
    assert reference == {
        "tenant_id": "acme", "collection": "films", "record_id": "alien", "relation": "director",
        "related_collection": "people", "related_id": "none", "is_synced": False, "repaired": False,
    }  # fmt: skip
    assert (counts["differences"], counts["remaining"]) == (1, 1)
    shown = invoked("check", database_url=url).stdout
    assert '"alien" in "films" of "acme" names "none" by relation \'director\', and "people" has no' in shown
