"""Each mistake of an operator with a database is named by each command in one sentence, with what to do."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from draftline_server.cli import tls_hints
from draftline_server.store import schema_problems
from draftline_server.store.database import Database
from draftline_server.store.notifications import Notifications
from draftline_server.store.pool_settings import PoolSettings
from draftline_server.store.statements import compiled
from draftline_server.store.time_limits import connect_unlimited
from sqlalchemy import text
from support import sql
from support.polling import until
from support.server_process import invoked
from support.servers import beside, on_database, run_sql, serving

NO_REVISION = "the schema has tables, but no revision in draftline.alembic_version, as after an incomplete restore"
SEVERAL = "draftline.alembic_version has several revisions"
PARTS = "the schema lacks parts of its revision"
# By damage: the statement, the sentence of serve, and that of migrate; empty if migrate repairs it.
DAMAGES = {
    "schema dropped": ("DROP SCHEMA draftline CASCADE", "the database was never migrated, or its schema was dropped: ",
                       ""),
    "no row of the revision": (
        "DELETE FROM draftline.alembic_version",
        f"{NO_REVISION}: restore a complete dump into an empty database, or insert '{{head}}'", NO_REVISION,
    ),
    "no table of the revision": ("DROP TABLE draftline.alembic_version", NO_REVISION, NO_REVISION),
    "two revisions": (
        "INSERT INTO draftline.alembic_version VALUES ('0007')",
        f"{SEVERAL} (0007, {{head}}): delete the wrong ones; its comment names {{head}}", SEVERAL,
    ),
    "no table": (
        "DROP TABLE draftline.tenant_usage", f"{PARTS} (table tenant_usage): restore a complete dump",
        f"{PARTS} (table tenant_usage): restore a complete dump",
    ),
    "no column": (
        "ALTER TABLE draftline.record DROP COLUMN position CASCADE", f"{PARTS} (column record.position): restore",
        f"{PARTS} (column record.position): restore",
    ),
    "no key": (
        "ALTER TABLE draftline.draft DROP CONSTRAINT draft_pkey",
        f"{PARTS} (unique index draft_pkey): run `ALTER TABLE draftline.draft ADD CONSTRAINT draft_pkey PRIMARY KEY (",
        f"{PARTS} (unique index draft_pkey): run `ALTER TABLE draftline.draft ADD CONSTRAINT draft_pkey PRIMARY KEY (",
    ),
    "no sequence": (
        "DROP SEQUENCE draftline.change_id CASCADE", f"{PARTS} (sequence change_id): restore",
        f"{PARTS} (sequence change_id): restore",
    ),
    "no type": (
        "DROP TYPE draftline.based_edit CASCADE", f"{PARTS} (type based_edit; function ", PARTS,
    ),
    "no function of a statement": (
        "DROP FUNCTION draftline.matches CASCADE", f"{PARTS} (function matches()): run `draftline migrate`", "",
    ),
    "no function of a function": (
        "DROP FUNCTION draftline.array_subtract CASCADE",
        f"{PARTS} (function array_subtract()): run `draftline migrate`", "",
    ),
}  # fmt: skip


def examined(url: str) -> dict[str, dict[str, Any]]:
    done = invoked("doctor", "--quick", "--json", database_url=url, port=0)
    return {each["check"]: each for each in map(json.loads, done.stdout.splitlines()) if "check" in each}


@pytest.fixture
def bare_url(postgres_url: str) -> Iterator[str]:
    """An empty database whose encoding is not UTF8."""
    name = f"draftline_test_{uuid4().hex}"
    options = "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"
    sql.fetch(postgres_url, f"CREATE DATABASE {name} {options}")
    yield on_database(postgres_url, name)
    sql.fetch(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(("statement", "sentence", "of_migrate"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_schema_is_named_with_what_to_do(
    database_url: str, statement: str, sentence: str, of_migrate: str
) -> None:
    (row,) = sql.fetch(database_url, "SELECT version_num FROM draftline.alembic_version")
    run_sql(database_url, statement)
    expected = sentence.format(head=row["version_num"])
    refused = invoked("serve", database_url=database_url, port=0)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
    assert refused.stderr.startswith(f"Error: {expected}")
    schema = examined(database_url)["schema"]
    assert schema["state"] == "fault"
    assert schema["fix"]
    migrated = invoked("migrate", database_url=database_url)
    if of_migrate:
        assert (migrated.returncode, migrated.stderr.count("\n")) == (1, 1)
        assert migrated.stderr.startswith(f"Error: {of_migrate}")
    else:
        assert migrated.returncode == 0, migrated.stderr
        assert examined(database_url)["schema"]["state"] == "ok"


@pytest.mark.parametrize("command", ["serve", "check", "migrate"])
def test_wrong_encoding_is_named_before_anything_else(bare_url: str, command: str) -> None:
    refused = invoked(command, database_url=bare_url, port=0)
    assert (refused.returncode, refused.stderr) == (
        1, "Error: the encoding of the database is SQL_ASCII: use a database created with ENCODING 'UTF8' and TEMPLATE "
        "template0\n",
    )  # fmt: skip


def test_function_changed_by_hand_is_found_by_doctor_and_repaired_by_migrate(database_url: str) -> None:
    run_sql(
        database_url, "CREATE OR REPLACE FUNCTION draftline.is_deeper(document jsonb, max_depth int) RETURNS boolean "
        "LANGUAGE sql IMMUTABLE AS 'SELECT false'",
    )  # fmt: skip
    schema = examined(database_url)["schema"]
    assert schema["message"].startswith("functions are not those of revision")
    assert (schema["message"].endswith(": is_deeper"), schema["fix"][:23]) == (True, "run `draftline migrate`")
    migrated = invoked("migrate", database_url=database_url)
    assert migrated.stderr == "functions created again, as they were missing or changed: is_deeper\n"
    assert invoked("migrate", database_url=database_url).stderr == ""
    assert examined(database_url)["schema"]["state"] == "ok"


def test_missing_index_is_named_with_the_statement_that_creates_it(database_url: str) -> None:
    run_sql(database_url, "DROP INDEX draftline.draft_record_idx, draftline.record_children_idx")
    migrated = invoked("migrate", database_url=database_url)
    assert (migrated.returncode, migrated.stderr) == (
        0, "indexes are missing, so calls are slow: draft_record_idx, record_children_idx; `draftline doctor` prints "
        "their statements\n",
    )  # fmt: skip
    for _ in range(2):
        schema = examined(database_url)["schema"]
        assert "indexes of revision" in schema["message"]
        run_sql(database_url, schema["fix"].split("`")[1])
    assert examined(database_url)["schema"]["state"] == "ok"


def test_database_that_is_read_only_by_default_is_a_warning_of_health_until_it_is_not(
    postgres_url: str, database_url: str, tmp_path: Path
) -> None:
    setting = f"ALTER DATABASE {database_url.partition('?')[0].rpartition('/')[2]} %s default_transaction_read_only"
    run_sql(postgres_url, f"{setting % 'SET'} = on")
    with serving(database_url, log_level="warning") as server:
        warned = invoked("health", "--address", server.address)
        assert (warned.returncode, warned.stdout) == (0, "SERVING\n")
        assert "read-only by default, and writes fail: reset default_transaction_read_only" in warned.stderr
        (tmp_path / "one.jsonl").write_text('{"id": "m-1"}\n')
        arguments = ("--tenant", "acme", "--collection", "films", "--id-from", "id", "--address", server.address)
        refused = invoked("import", str(tmp_path / "one.jsonl"), *arguments)
        assert refused.returncode == 3
        assert "the database takes no writes now" in refused.stderr
        assert "Is the service running there?" not in refused.stderr
        run_sql(postgres_url, setting % "RESET")
        until(lambda: server.app.server.health.warning == "")


# What a role or a database may set for its sessions, beside the value that the sessions of the service have.
SESSION_SETTINGS = {
    "DateStyle": ("German", "ISO, MDY"),
    "IntervalStyle": ("sql_standard", "postgres"),
    "default_transaction_isolation": ("serializable", "read committed"),
    "extra_float_digits": ("-15", "1"),
    "idle_session_timeout": ("1h", "0"),
    "idle_in_transaction_session_timeout": ("1h", "20s"),
    "jit": ("on", "off"),
    "lock_timeout": ("1h", "10s"),
    "standard_conforming_strings": ("off", "on"),
    "statement_timeout": ("1h", "25s"),
    "transaction_timeout": ("1h", "0"),
    "transform_null_equals": ("on", "off"),
}


def test_settings_of_the_role_and_the_database_do_not_reach_the_sessions_of_the_service(database_url: str) -> None:
    name = database_url.partition("?")[0].rpartition("/")[2]
    (row,) = sql.fetch(database_url, "SELECT current_setting('server_version_num')::int >= 170000 AS is_17")
    settings = {key: each for key, each in SESSION_SETTINGS.items() if row["is_17"] or key != "transaction_timeout"}
    run_sql(database_url, *(f"ALTER DATABASE {name} SET {key} = '{each[0]}'" for key, each in settings.items()))
    for command in ("migrate", "check", "doctor"):
        assert invoked(command, database_url=database_url, port=0).returncode == 0

    async def sessions() -> list[dict[str, str]]:
        shown = "SELECT " + ", ".join(f"current_setting('{key}') AS {key.lower()}" for key in settings)
        database = Database(database_url, PoolSettings(size=1))
        notifications = Notifications(database_url, 10)
        await database.open(checked=True)
        await notifications.open(lambda _: None, lambda: None)
        outside = await connect_unlimited(database_url, 10)
        try:
            pooled = (await database.fetch(compiled("settings", text(shown))[0], {}))[0]
            listening = await notifications._connection.fetchrow(shown)  # type: ignore[union-attr]
            return [dict(pooled), dict(listening), dict(await outside.fetchrow(shown))]
        finally:
            outside.terminate()
            notifications.close()
            await database.close()

    pooled, *others = beside(asyncio.run, sessions())
    assert pooled == {key.lower(): each[1] for key, each in settings.items()}
    limits = [key for key in settings if key.endswith("_timeout") and key != "lock_timeout"]
    assert [{other[key] for key in limits} for other in others] == [{"0"}, {"0"}]


def test_service_that_does_not_respond_is_told_from_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_hints, "PROBE_S", 0.2)  # the program never answers, whatever it is sent
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        done = invoked("health", "--address", address, "--timeout", "0.5")
        assert (done.returncode, done.stdout) == (1, "DEADLINE_EXCEEDED\n")
        assert done.stderr == (
            f"no service responded at {address} within 0.5 s: it is overloaded or stopped, or another program listens "
            "there\n"
        )
    done = invoked("health", "--address", address, "--timeout", "5")
    assert (done.stdout, done.stderr.startswith(f"no service responds at {address}\n")) == ("UNAVAILABLE\n", True)


def test_address_of_another_machine_is_named_by_serve(database_url: str) -> None:
    for setting in ("host", "metrics_host"):
        given = {setting: "192.0.2.1", "dangerously_serve_unprotected": "true", "metrics_port": 0}
        refused = invoked("serve", database_url=database_url, port=0, **given)
        assert refused.returncode == 1
        assert f"192.0.2.1 is not an address of this machine; set DRAFTLINE_{setting.upper()} to one" in refused.stderr


def test_role_without_rights_is_told_by_each_command_to_run_as_the_one_that_migrated(database_url: str) -> None:
    role = f"guest_{uuid4().hex[:8]}"
    run_sql(database_url, f"CREATE ROLE {role} LOGIN")
    try:
        url = database_url.replace("draftline@", f"{role}@").replace("user=draftline", f"user={role}")
        assert role in url
        for grant in ("SELECT 1", f"GRANT USAGE ON SCHEMA draftline TO {role}"):
            run_sql(database_url, grant)
            for command in (["check"], ["serve"], ["migrate"], ["migrate", "--rehearse"], ["partitions", "status"]):
                refused = invoked(*command, database_url=url, port=0)
                assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), (command, refused.stderr)
                assert "as the role that migrated" in refused.stderr, command
            schema = examined(url)["schema"]
            assert (schema["state"], "as the role that migrated" in schema["fix"]) == ("fault", True)
    finally:
        run_sql(database_url, f"REVOKE ALL ON SCHEMA draftline FROM {role}", f"DROP ROLE {role}")


def test_server_that_is_too_old_is_named_by_each_command(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest supported version is raised, because no older server is there."""
    monkeypatch.setattr(schema_problems, "OLDEST_SERVER", 990_000)
    for command in ("serve", "check", "migrate"):
        refused = invoked(command, database_url=database_url, port=0)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
        assert re.match(r"Error: the server is PostgreSQL [\d.]+.*: use PostgreSQL 99 or newer; a dump", refused.stderr)
    found = examined(database_url)["database"]
    assert (found["state"], found["fix"]) == (
        "fault", "use PostgreSQL 99 or newer; a dump of the database moves it"
    )  # fmt: skip
