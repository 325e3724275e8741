"""A migration is rehearsed on a copy, which leaves the database unchanged, and is completed only as rehearsed."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from draftline import Client, DeclaredStatistic, SortKey
from draftline_server.ops import revisions
from draftline_server.partitions.conversion import partition_tables
from draftline_server.rehearsal import locks, trial
from draftline_server.rehearsal.contents import read_contents
from draftline_server.rehearsal.copying import copy_schema
from draftline_server.rehearsal.progress import Progress
from draftline_server.rehearsal.report import read_report, write_report
from draftline_server.rehearsal.run import SNAPSHOT
from draftline_server.rehearsal.schema import compare, read_declared_objects, read_objects
from draftline_server.rehearsal.scratch import UNFINISHED
from draftline_server.rehearsal.sessions import session
from draftline_server.store.advisory_locks import AdvisoryLock
from support import sql
from support.polling import until
from support.server_process import environment, invoked
from support.servers import cloned, on_database, run_sql, serving
from support.soak_scale import IS_SOAK, length

NOW = revisions.head()
NEXT = "9001"
STEP = '''"""The next version."""
from alembic import op
revision, down_revision = "{next}", "{now}"
oldest_service = "{now}"

def upgrade():
{up}

def downgrade():
    pass
'''
COPIES = "SELECT datname FROM pg_database WHERE datname ~ '^draftline_rehearsal_'"
# Everything in the database: the catalogue and the rows.
OBJECTS = """
SELECT md5(string_agg(text, '|' ORDER BY text)) AS digest FROM (
    SELECT ROW(c.oid, c.relname, c.relfilenode, c.reloptions, c.relacl)::text AS text FROM pg_class AS c
        WHERE c.relnamespace = 'draftline'::regnamespace
    UNION ALL SELECT a::text FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'draftline'::regnamespace
    UNION ALL SELECT p::text FROM pg_proc AS p WHERE p.pronamespace = 'draftline'::regnamespace
    UNION ALL SELECT k::text FROM pg_constraint AS k WHERE k.connamespace = 'draftline'::regnamespace
    UNION ALL SELECT n::text FROM pg_namespace AS n
    UNION ALL SELECT s::text FROM pg_sequences AS s
) AS everything"""
TABLES = "SELECT relname FROM pg_class WHERE relnamespace = 'draftline'::regnamespace AND relkind = 'r'"


@pytest.fixture(scope="module")
def filled(postgres_url: str, template: str) -> Iterator[str]:
    """The name of a database with records, drafts, changes, a declared order, a statistic and a relation."""
    with cloned(postgres_url, template) as url:
        with serving(url) as server, Client(server.address, tenant_id="acme", user="ada") as client:
            client.put_collection(
                "films",
                fields={"/title": "text", "/n": "number", "/ok": "boolean"},
                orders=[[SortKey("/n", descending=True)]],
                statistics=[DeclaredStatistic("ok", ("/ok",), ("/n",))],
            )
            client.import_content(
                "films", [(f"f-{n}", {"title": f"a\\b\t{n}\n'é", "n": n, "ok": n > 5}) for n in range(20)]
            )
            client.patch_content("films", "f-1", {"n": 100})
            client.delete_content("films", "f-2")
            client.save_draft("films", "f-3", {"n": 7})
            client.save_draft("films", "f-new", create={"n": 1})
            client.wait_until_built("films")
        run_sql(url, "ANALYZE")
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
def url(postgres_url: str, filled: str) -> Iterator[str]:
    with cloned(postgres_url, filled) as made:
        yield made


def state(url: str) -> dict[str, str]:
    """Return digests of the objects and of the rows of each table."""
    found = {"objects": sql.fetch(url, OBJECTS)[0]["digest"]}
    for row in sql.fetch(url, TABLES):
        query = f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) AS digest FROM draftline.{row['relname']} AS t"
        found[row["relname"]] = sql.fetch(url, query)[0]["digest"]
    return found


@contextmanager
def unchanged(url: str) -> Iterator[None]:
    """Fail if the block changes the database or leaves a copy."""
    before = state(url)
    yield
    assert state(url) == before
    assert sql.fetch(url, COPIES) == []


def migrations_with(folder: Path, *statements: str) -> Path:
    """Create a folder of migrations with one more step, which runs these statements."""
    shutil.copytree(revisions.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    up = "\n".join(f"    op.execute({statement!r})" for statement in statements)
    (folder / "versions" / f"{NEXT}_next.py").write_text(STEP.format(next=NEXT, now=NOW, up=up))
    return folder


@pytest.fixture
def next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Add a step to the migrations, which runs the statements that are passed."""

    def add(*statements: str) -> None:
        monkeypatch.setattr(revisions, "FOLDER", migrations_with(tmp_path / "migrations", *statements))

    return add


def identity_of(url: str) -> dict[str, Any]:
    query = "SELECT datname::text AS database, oid::bigint AS oid FROM pg_database WHERE datname = current_database()"
    return dict(sql.fetch(url, query)[0])


def rehearse(url: str, path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return invoked("migrate", "--rehearse", "--report", str(path), *arguments, database_url=url)


def complete(url: str, path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return invoked("migrate", "--complete", str(path), *arguments, database_url=url)


ADD = "ALTER TABLE draftline.record ADD COLUMN colour text NOT NULL DEFAULT 'none'"


@pytest.fixture(scope="module")
def rehearsed(postgres_url: str, filled: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A database, the report of a rehearsal that passed, and the folder of its migrations."""
    folder = migrations_with(tmp_path_factory.mktemp("next") / "migrations", ADD)
    path = folder.parent / "report.json"
    with pytest.MonkeyPatch.context() as patched, cloned(postgres_url, filled) as url:
        patched.setattr(revisions, "FOLDER", folder)
        with unchanged(url):
            done = rehearse(url, path, "--longest-lock", "60s")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (
            0, f"PASSED: run `draftline migrate --complete {path}`",
        )  # fmt: skip
        yield url, path


def test_rehearsal_reports_what_it_did(rehearsed: tuple[str, Path]) -> None:
    report = read_report(rehearsed[1])
    assert (report.revision, report.target, report.reached, report.passed) == (NOW, NEXT, NEXT, True)
    assert report.services_may_run
    assert (report.check, report.differences, report.problems) == ({"drafts": 2, "differences": 0}, [], [])
    assert {table["table"] for table in report.tables if not table["is_same"]} == set()
    assert {table["table"]: table["rows_before"] for table in report.tables}["record"] == 20
    assert [step["step"] for step in report.steps] == [f"{NEXT} The next version."]
    assert report.size_before > 0
    assert report.copy["rows"] > 40
    assert not report.copy["is_kept"]


DRIFT = {
    "DROP INDEX draftline.draft_record_idx": "index draft_record_idx is missing",
    "ALTER TABLE draftline.record ADD COLUMN extra int": "column record.extra is unexpected",
    "CREATE TRIGGER t BEFORE UPDATE ON draftline.record FOR EACH ROW EXECUTE FUNCTION "
    "suppress_redundant_updates_trigger()": "trigger record.t is unexpected",
    "ALTER TABLE draftline.draft ALTER COLUMN edit DROP NOT NULL": "column draft.edit is different",
    "CREATE OR REPLACE FUNCTION draftline.keeps_snapshot(version bigint) RETURNS boolean LANGUAGE sql IMMUTABLE "
    "PARALLEL SAFE AS 'SELECT false'": "function keeps_snapshot(version bigint) is different",
}


def test_completion_is_refused_unless_all_is_as_rehearsed(
    rehearsed: tuple[str, Path], postgres_url: str, filled: str, tmp_path: Path
) -> None:
    url, path = rehearsed
    report = read_report(path)

    def refused(text: str, file: Path = path, at: str = url) -> None:
        before = state(at)
        done = complete(at, file)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stdout + done.stderr
        assert text in done.stderr
        assert state(at) == before

    assert complete(url, path, "--dry-run").returncode == 0
    changed = tmp_path / "changed.json"
    changed.write_text(path.read_text().replace('"passed": true', '"passed": false'))
    refused("was changed after it was written", changed)
    write_report(replace(report, passed=False, problems=["a lock of a minute"]), changed)
    refused("the rehearsal failed: a lock of a minute", changed)
    write_report(replace(report, started_at="2020-01-01T00:00:00+00:00"), changed)
    refused("the limit is 7 days", changed)
    changed.write_text("{}")
    refused("is not a report of a rehearsal", changed)
    with cloned(postgres_url, filled) as other:
        refused("the rehearsal was of draftline_test_", at=other)
    step = revisions.FOLDER / "versions" / f"{NEXT}_next.py"
    text = step.read_text()
    step.write_text(f"{text}# another comment\n")
    refused("the migration files are not those that were rehearsed")
    step.write_text(text)
    with cloned(postgres_url, filled) as drifted:
        run_sql(drifted, *DRIFT)
        write_report(replace(report, database={**report.database, **identity_of(drifted)}), changed)
        refused(f"the schema has changed since: {', '.join(DRIFT.values())}", changed, drifted)


def test_completion_migrates_beside_services_and_only_once(
    rehearsed: tuple[str, Path], postgres_url: str, filled: str, tmp_path: Path
) -> None:
    _, path = rehearsed
    with cloned(postgres_url, filled) as real:
        mine = tmp_path / "report.json"
        report = read_report(path)
        write_report(replace(report, database={**report.database, **identity_of(real)}), mine)
        with serving(real, revision=NOW):
            done = complete(real, mine, "--json")
        assert (done.returncode, json.loads(done.stdout)["revision"]) == (0, NEXT), done.stderr
        assert (read_report(mine).completed or {})["revision"] == NEXT
        again = complete(real, mine)
        assert (again.returncode, "seems to be completed" in again.stderr) == (1, True)


LOCKED_S = length("REHEARSAL_LOCK_S", 0.7, soak=60.0)
LONGEST_LOCK = "30s" if LOCKED_S > 30 else "500ms"


@pytest.mark.soak
def test_faults_fail_the_rehearsal(
    url: str, next_step: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long lock, lost and changed rows, and a schema that was changed by hand, in one rehearsal.

    The locks last longer than the session that samples them waits for one: it must not need any.
    """

    @asynccontextmanager
    async def impatient(url: str) -> AsyncIterator[Any]:
        async with session(url) as connection:
            await connection.execute("SET lock_timeout = '100ms'")
            yield connection

    monkeypatch.setattr(trial, "session", impatient)
    monkeypatch.setattr(locks, "SIZE_S", 0.1)
    next_step(
        "DELETE FROM draftline.draft WHERE record_id = 'f-3'",
        "UPDATE draftline.record SET content = '{}' WHERE record_id = 'f-4'",
        "ALTER TABLE draftline.collection DROP COLUMN history",
        "LOCK TABLE draftline.record IN SHARE MODE",
        "LOCK TABLE draftline.change_default IN ACCESS EXCLUSIVE MODE",
        f"DO $$ BEGIN IF EXISTS (SELECT FROM draftline.record) THEN PERFORM pg_sleep({LOCKED_S}); END IF; END $$",
    )
    run_sql(
        url, "DROP INDEX draftline.draft_record_idx", "ALTER TABLE draftline.draft ADD COLUMN extra int",
        "ALTER TABLE draftline.record ADD CONSTRAINT mine CHECK (version < 1000)",
    )  # fmt: skip
    path = tmp_path / "report.json"
    left = f"draftline_rehearsal_{identity_of(url)['oid']}_0123abcd"  # of a killed rehearsal
    with unchanged(url):
        run_sql(url, f"CREATE DATABASE {left} TEMPLATE template0")
        done = rehearse(url, path, "--longest-lock", LONGEST_LOCK, "--json")
    assert f"dropping the database {left}, which an earlier rehearsal left" in done.stderr
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert (done.returncode, found["passed"], found["reached"]) == (1, False, NEXT)
    problems = "\n".join(found["problems"])
    for expected in (
        r"record is locked for [\d.]+ s, which blocks writes \(ShareLock\); the limit is [\d.]+ s; .* in: DO .*sleep",
        r"record is locked for [\d.]+ s, which blocks writes of the same rows \(RowExclusiveLock\)",
        r"collection is locked for [\d.]+ s, which blocks reads and writes \(AccessExclusiveLock\)",
        r"the migration removes 1 rows of draft$",
        r"the migration changes values of record in content$",
        r"the migration removes columns of collection: history$",
        r"index draft_record_idx is missing; column draft.extra is unexpected; constraint record.mine is unexpected",
        r"^the schema lacks parts of its revision \(column collection.history\)",
    ):
        assert re.search(expected, problems, re.MULTILINE), (expected, problems)
    refused = complete(url, path)
    assert (refused.returncode, refused.stderr.startswith("Error: the rehearsal failed: ")) == (1, True)


def test_not_null_over_bad_data_fails_in_the_database_of_into(
    url: str, next_step: Callable[..., None], tmp_path: Path, postgres_url: str
) -> None:
    next_step("ALTER TABLE draftline.record ALTER COLUMN parent_id SET NOT NULL")
    path = tmp_path / "report.json"
    taken = rehearse(url, path, "--into", url)
    assert (taken.returncode, "is not empty" in taken.stderr) == (1, True)
    name = f"draftline_into_{uuid.uuid4().hex}"
    run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE template0")
    into = on_database(postgres_url, name)
    run_sql(into, "CREATE SCHEMA draftline", f"COMMENT ON SCHEMA draftline IS '{UNFINISHED}'")  # of a killed rehearsal
    try:
        with unchanged(url):
            done = rehearse(url, path, "--into", into)
        assert (done.returncode, f"emptying the database {name}" in done.stderr) == (1, True)
        (problem,) = read_report(path).problems
        assert problem.startswith(f"the migration from {NOW} to {NEXT} fails: ")
        assert 'column "parent_id" of relation "record" contains null values' in problem
        assert read_report(path).reached == NOW
        assert sql.fetch(into, "SELECT to_regnamespace('draftline') IS NULL AS gone")[0]["gone"]
    finally:
        run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


SIGNALS = [signal.SIGTERM, *([signal.SIGINT, signal.SIGHUP, signal.SIGKILL] if IS_SOAK else [])]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_ended_rehearsal_leaves_nothing(url: str, tmp_path: Path, number: signal.Signals) -> None:
    sleep = "SELECT pg_sleep(60) FROM draftline.record LIMIT 1"
    folder = migrations_with(tmp_path / "migrations", sleep)
    program = (
        "import pathlib, sys; from draftline_server.ops import revisions; "
        "revisions.FOLDER = pathlib.Path(sys.argv.pop(1)); from draftline_server.cli import main; main()"
    )
    sleeping = f"SELECT datname FROM pg_stat_activity WHERE query = '{sleep}' AND datname ~ '^draftline_rehearsal_'"
    command = [sys.executable, "-c", program, str(folder), "migrate", "--rehearse"]
    environ = environment(database_url=url, log_level="error")
    with unchanged(url):
        with subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            until(lambda: sql.fetch(url, sleeping))
            process.send_signal(number)
            text = process.stderr.read()
        if number == signal.SIGKILL:
            assert invoked("migrate", "--drop-copies", database_url=url).stdout.startswith(
                "dropped draftline_rehearsal_"
            )
        else:
            expected = f"Error: the rehearsal was ended by {number.name}: the database is unchanged"
            assert (process.returncode, text.splitlines()[-1].startswith(expected)) == (1, True), text
    assert list(tmp_path.glob("*.json")) == []


def test_second_rehearsal_at_once_is_refused(url: str, tmp_path: Path) -> None:
    holder = f"SELECT pg_advisory_lock({AdvisoryLock.REHEARSAL:d})"
    sql.fetch(url, holder)
    try:
        refused = rehearse(url, tmp_path / "report.json")
        assert "another rehearsal of this database is running" in refused.stderr
        assert refused.returncode == 1
    finally:
        sql.fetch(url, f"SELECT pg_advisory_unlock({AdvisoryLock.REHEARSAL:d})")


BY_HAND = """
SET search_path TO draftline;
CREATE TYPE mood AS ENUM ('a', 'b');
CREATE TABLE mine (id bigint GENERATED ALWAYS AS IDENTITY (START 5) PRIMARY KEY,
    "Odd ""name" text COLLATE "C" DEFAULT 'x',
    double bigint GENERATED ALWAYS AS (id * 2) STORED, feel mood) WITH (fillfactor = 70);
INSERT INTO mine (feel) VALUES ('a'), (NULL);
CREATE UNLOGGED TABLE fast AS SELECT 1 AS one;
CREATE VIEW seen AS SELECT tenant_id FROM record;
CREATE FUNCTION of_row(draft) RETURNS text LANGUAGE sql AS 'SELECT $1.record_id';
CREATE STATISTICS together (ndistinct) ON tenant_id, collection FROM record;
ALTER TABLE draft ADD FOREIGN KEY (base_version) REFERENCES mine (id) NOT VALID;
CREATE TRIGGER t BEFORE UPDATE ON record FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
ALTER TABLE record ENABLE ALWAYS TRIGGER t;
CREATE UNIQUE INDEX ON mine (lower("Odd ""name")) WHERE id > 9;
"""


async def copied(source_url: str, copy_url: str) -> None:
    async with session(source_url) as source, session(copy_url) as copy:
        await source.execute(SNAPSHOT)
        await copy.execute("CREATE SCHEMA draftline")
        result = await copy_schema(source, copy, Progress())
        assert result.objects == await read_objects(copy)
        assert await read_contents(source) == await read_contents(copy)
        assert result.rows > 40


async def test_schema_that_was_changed_by_hand_is_copied_as_it_is(url: str, postgres_url: str) -> None:
    run_sql(url, *(statement for statement in BY_HAND.split(";\n") if statement.strip()))
    await copied_to_new(url, postgres_url)


async def copied_to_new(url: str, postgres_url: str) -> None:
    name = f"draftline_copy_{uuid.uuid4().hex}"
    run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        await copied(url, on_database(postgres_url, name))
    finally:
        run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


async def test_partitioned_database_is_copied_and_compares_with_a_plain_one(url: str, postgres_url: str) -> None:
    async with session(url) as connection:
        plain = await read_declared_objects(connection)
        await partition_tables(connection, ["acme"], 4)
        assert compare(await read_declared_objects(connection), plain) == []
    await copied_to_new(url, postgres_url)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rehearse", "--check"], "Pass only one of --check and --rehearse."),
        (["--rehearse", "--wait"], "--rehearse does not take --wait."),
        (["--into", "postgresql://x"], "A plain migration does not take --into."),
        (["--rehearse", "--longest-lock", "soon"], "'soon' is not a time; pass 500ms, 2s or 1m"),
        (["--rehearse", "--report", "nowhere/report.json"], "the folder nowhere of --report does not exist"),
    ],
    ids=["two-modes", "wait", "into", "time", "folder"],
)
def test_options_that_do_not_fit_are_refused(arguments: list[str], message: str) -> None:
    refused = invoked("migrate", *arguments, database_url="postgresql://nobody@127.0.0.1:1/none")
    assert (refused.returncode, message in refused.stderr) == (2, True), refused.stderr


def test_database_that_was_never_migrated_has_nothing_to_rehearse(postgres_url: str) -> None:
    name = f"draftline_blank_{uuid.uuid4().hex}"
    run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        refused = invoked("migrate", "--rehearse", database_url=on_database(postgres_url, name))
        assert (refused.returncode, "was never migrated" in refused.stderr) == (1, True)
    finally:
        run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


def test_rehearsal_during_a_switchover_is_refused_by_its_phase(url: str, tmp_path: Path) -> None:
    started = invoked("partitions", "start", "--log", str(tmp_path / "log"), database_url=url)
    assert started.returncode == 0, started.stderr
    with unchanged(url):
        done = rehearse(url, tmp_path / "report")
    assert done.returncode == 1
    assert "a switchover to partitioned tables is under way (phase COPIED): complete it or end it" in done.stderr
    assert not (tmp_path / "report").exists()


def test_role_that_may_not_create_databases_is_pointed_to_into(url: str, postgres_url: str, tmp_path: Path) -> None:
    role = f"owner_{uuid.uuid4().hex[:8]}"
    run_sql(url, f"CREATE ROLE {role} LOGIN IN ROLE {urlsplit(url).username}")
    try:
        with unchanged(url):
            refused = rehearse(re.sub(r"//[^@]*@", f"//{role}@", url), tmp_path / "report.json")
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
        assert "may not create databases: ALTER ROLE ... CREATEDB, or pass --into" in refused.stderr
    finally:
        run_sql(postgres_url, f"DROP ROLE {role}")


@pytest.mark.parametrize("mode", ["--rehearse", "--drop-copies"])
@pytest.mark.parametrize("into", ["mysql://x", "postgresql://nobody@127.0.0.1:1/x"], ids=["scheme", "address"])
def test_error_of_the_database_of_into_names_into(url: str, mode: str, into: str) -> None:
    """Name the option that is to be corrected, not the setting of the database that was reached."""
    refused = invoked("migrate", mode, "--into", into, database_url=url)
    assert refused.returncode == 3
    assert ("--into" in refused.stderr, "DRAFTLINE_DATABASE_URL" in refused.stderr) == (True, False), refused.stderr
