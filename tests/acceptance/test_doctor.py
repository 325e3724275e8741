"""`draftline doctor` finds planted problems, reports how to fix them, and changes nothing."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from click.testing import CliRunner
from draftline import Client
from draftline_server.cli import doctor as doctor_command
from draftline_server.cli import main
from draftline_server.doctor import database as doctor_database
from draftline_server.doctor import examination as doctor
from draftline_server.doctor import ports as doctor_ports
from draftline_server.domain.errors import (
    ContentionError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    DraftlineError,
    InvalidDocumentError,
    OverloadedError,
    StorageFullError,
)
from draftline_server.embedded_postgres.server import EmbeddedPostgres
from draftline_server.ops import migrate, revisions
from draftline_server.settings import Settings
from draftline_server.store.statements import compiled
from sqlalchemy import text
from support.certificates import Authority
from support.polling import until
from support.server_process import DRAFTLINE, environment, invoked, served
from support.servers import beside, cloned, run_sql, serving

AUTHORITY = Authority("doctor")
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
# Ports that another service on this machine does not use.
AS_MIGRATOR = "serve and check as the role that migrated, or as a member of it"
OWN = {"port": 0, "metrics_port": 0}


@dataclass(frozen=True)
class Examination:
    status: int
    findings: list[dict[str, str]]
    counts: dict[str, int]

    @property
    def wrong(self) -> list[dict[str, str]]:
        return [each for each in self.findings if each["state"] in ("warning", "fault")]

    @property
    def fault(self) -> dict[str, str]:
        """The only problem."""
        (found,) = self.wrong
        assert (self.status, found["state"], self.counts) == (1, "fault", {"faults": 1, "warnings": 0})
        assert found["fix"]
        return found

    def finding(self, check: str) -> dict[str, str]:
        (found,) = [each for each in self.findings if each["check"] == check]
        return found


def examined(*options: str, **settings: object) -> Examination:
    return _examination(invoked("doctor", "--json", *options, **{**OWN, **settings}))


def _examination(done: subprocess.CompletedProcess[str]) -> Examination:
    assert "Traceback" not in done.stderr
    *findings, counts = [json.loads(line) for line in done.stdout.splitlines()]
    return Examination(done.returncode, findings, counts)


def examined_without_privileges(**settings: object) -> Examination:
    """Run the doctor bound to file modes, as root is without two of its capabilities."""
    environ = environment(**{**OWN, **settings})
    arguments = [DRAFTLINE, "doctor", "--json"]
    return _examination(
        subprocess.run(
            arguments, env=environ, capture_output=True, text=True, check=False, preexec_fn=_without_privileges
        )
    )


def _without_privileges() -> None:
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


@pytest.fixture(scope="module")
def filled(postgres_url: str, template: str) -> Iterator[str]:
    """The name of a database with a declared collection and a draft."""
    with cloned(postgres_url, template) as url:
        with serving(url) as server, Client(server.address, tenant_id="acme", user="ada") as client:
            client.put_collection("films", fields={"/title": "text"})
            client.import_content("films", [("m-1", {"title": "Alien"})])
            client.save_draft("films", "m-1", {"title": "Aliens"})
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
def url(postgres_url: str, filled: str) -> Iterator[str]:
    with cloned(postgres_url, filled) as made:
        yield made


def test_nothing_is_wrong_with_a_service_that_can_be_started(url: str) -> None:
    found = examined(database_url=url)
    assert (found.status, found.wrong, found.counts) == (0, [], {"faults": 0, "warnings": 0})
    assert found.finding("drafts")["message"] == "1 are consistent with their records"


def test_nothing_is_wrong_with_a_service_that_runs(url: str) -> None:
    with served(database_url=url, workers=2, metrics_port=0) as service:
        (measured,) = [entry["metrics_port"] for entry in service.log if "metrics_port" in entry]
        port = service.address.rpartition(":")[2]
        found = examined(database_url=url, port=port, metrics_port=measured)
    assert found.wrong == []
    assert "SERVING" in found.finding("port")["message"]
    assert "serves metrics" in found.finding("metrics port")["message"]


def test_setting_under_a_former_name_is_a_warning(url: str) -> None:
    found = examined(database_url=url, retries=3)
    assert found.status == 0
    (warning,) = found.wrong
    assert warning["state"] == "warning"
    assert "DRAFTLINE_RETRIES is the former name of DRAFTLINE_MAX_ATTEMPTS" in str(warning)


def test_for_people_it_is_a_list_that_ends_with_how_many_are_wrong(url: str) -> None:
    done = invoked("doctor", database_url=url, portt=1, **OWN)
    assert done.returncode == 0  # a warning is no fault
    first, fix, *_, last = done.stdout.splitlines()
    assert first == "warning  settings          Unknown setting DRAFTLINE_PORTT. Did you mean DRAFTLINE_PORT?"
    assert fix.split(maxsplit=1) == ["Fix:", "correct the name, or unset the variable"]
    assert last == "0 faults, 1 warning"


# Ten faults.


def test_database_that_is_down_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        found = examined(database_url=f"postgresql://ada:hush@127.0.0.1:{unused.getsockname()[1]}/films").fault
    assert found["check"] == "database"
    assert "cannot be reached: Connection refused" in found["message"] or "Connect call failed" in found["message"]
    assert "start PostgreSQL" in found["fix"]
    assert "hush" not in str(found)


def test_old_schema_is_named(postgres_url: str, template: str) -> None:
    with cloned(postgres_url, template) as url:
        beside(migrate.go_to, url, "0002")
        found = examined(database_url=url).fault
    assert found["message"] == f"the database is at revision 0002, this version needs {revisions.head()}"
    assert found["fix"] == "run `draftline migrate`"


def test_orders_that_are_not_built_are_reported_with_a_fix_that_works(url: str) -> None:
    run_sql(url, UNBUILD)
    found = examined(database_url=url).fault
    assert found["check"] == "indexes"
    assert "1 of films" in found["message"]
    assert "start the service" in found["fix"]
    with serving(url):
        until(lambda: examined(database_url=url).wrong == [])


def test_statistics_that_are_not_built_invalid_or_not_folded_are_reported(url: str) -> None:
    statistics = """INSERT INTO draftline.statistic (tenant_id, collection, statistic_id, name, spec, fields, k1_path,
            k1_type, state, created_at)
        VALUES ('acme', 'films', 1, 'by genre', '{}', '{g}', '{g}', 'TEXT', '%s', now() - interval '1 hour')"""
    run_sql(url, statistics % "BUILDING")
    found = examined(database_url=url).fault
    assert (found["check"], found["fix"]) == ("statistics", "start the service, which builds them")
    assert "'by genre' of films of tenant acme" in found["message"]
    run_sql(url, "UPDATE draftline.statistic SET state = 'READY', group_count = 10001")
    (found,) = examined(database_url=url).wrong
    assert "since they were built" in found["message"]
    run_sql(url, "UPDATE draftline.statistic SET state = 'INVALID'")
    (found,) = examined(database_url=url).wrong
    assert "more than 10,000 groups" in found["message"]
    run_sql(
        url, "UPDATE draftline.statistic SET state = 'READY'",
        "INSERT INTO draftline.tally (tenant_id, statistic_id, user_id, k1, records) "
        "SELECT 'acme', 1, '', 'x', 1 FROM generate_series(1, 2001)",
    )  # fmt: skip
    (found,) = examined(database_url=url).wrong
    assert "not folded" in found["message"]
    with serving(url):
        until(lambda: examined(database_url=url).wrong == [])


def test_syncs_that_need_a_person_are_named(url: str, tmp_path: Path) -> None:
    """Name syncs that are suspended, paused, without a worker or without an endpoint, and their records in error."""
    upstreams = tmp_path / "upstreams.json"
    endpoint = {"kind": "grpc", "address": "127.0.0.1:1", "tls": None, "networks": ["127.0.0.0/8"]}
    upstreams.write_text(
        json.dumps({"toy": {**endpoint, "tenants": ["acme"]}, "other": {**endpoint, "tenants": ["x"]}})
    )
    with serving(url) as server, Client(server.address, tenant_id="acme", user="ada") as client:
        for name, endpoint_name in (("idle", "toy"), ("stopped", "toy"), ("lost", "none"), ("foreign", "other")):
            client.put_sync(name, endpoint_name, [f"of-{name}"])
        client.create_content("of-stopped", {"n": 1}, record_id="p")
        client.link_record("of-stopped", "p", "r")
        client.pause_sync("lost", push=True, pull=True)
        client.pause_sync("foreign", push=True, pull=True)
    run_sql(url, "UPDATE draftline.sync_record SET state = 'FAILED'")
    run_sql(
        url,
        "UPDATE draftline.sync_upstream SET suspended_reason = 'WENT_BACK', "
        "suspended_message = 'p is older than before' WHERE upstream = 'stopped'",
    )
    found = examined(database_url=url, upstreams_file=upstreams)
    assert found.finding("upstreams")["state"] == "ok"
    messages = {each["message"] for each in found.findings if each["check"] == "syncs"}
    assert messages == {
        "'stopped' of tenant acme is suspended, WENT_BACK: p is older than before",
        "paused: 'foreign' of tenant acme, 'lost' of tenant acme",
        "no process works on: 'idle' of tenant acme",
        "1 records are in SYNC_ERROR: 'stopped' of tenant acme",
        "'lost' of tenant acme uses endpoint 'none', which DRAFTLINE_UPSTREAMS_FILE does not define",
        "'foreign' of tenant acme uses endpoint 'other', which DRAFTLINE_UPSTREAMS_FILE does not allow for this tenant",
    }
    assert all(each["fix"] for each in found.wrong)
    run_sql(url, "UPDATE draftline.sync_upstream SET owner = 'w', lease_until = now() + interval '1 hour'")
    run_sql(
        url,
        "UPDATE draftline.sync_record SET state = 'DUE', due_since = now() - interval '10 minutes'; "
        "UPDATE draftline.sync_upstream SET suspended_reason = NULL",
    )
    assert "commits have waited for more than 5 minutes: 'stopped' of tenant acme" in {
        each["message"] for each in examined(database_url=url).findings
    }


def test_secret_of_an_endpoint_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Name the endpoint and the field, and not the secret."""
    upstreams = tmp_path / "upstreams.json"
    definition = {"kind": "erp", "secret_files": {"url": "url.txt"}, "tenants": ["acme"]}
    upstreams.write_text(json.dumps({"pems": definition}))
    found = [
        each for each in examined(data_dir=tmp_path, upstreams_file=upstreams).wrong if each["check"] == "upstreams"
    ]
    assert [each["state"] for each in found] == ["fault"]
    assert "endpoint 'pems': secret_files.url: the file cannot be read" in found[0]["message"]


def test_values_that_do_not_fit_their_fields_are_named(url: str) -> None:
    with serving(url) as server, Client(server.address, tenant_id="acme") as client:
        client.import_content("films", [("odd 1", {"title": 1}), ("odd 2", {"title": []})])
    found = next(each for each in examined(database_url=url).wrong if each["check"] == "values")
    assert "/title of films of tenant acme (2)" in found["message"]
    assert "record.mistyped = true" in found["fix"]
    assert not [each for each in examined("--quick", database_url=url).wrong if each["check"] == "values"]


UNBUILD = "UPDATE draftline.collection_order SET state = 'BUILDING', ready_at = NULL"


def test_taken_port_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The other program never answers, however long the doctor waits.
    monkeypatch.setattr(doctor_command, "HEALTH_S", 0.1)
    monkeypatch.setattr(doctor_ports, "ANSWER_S", 0.1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for setting, check in (("port", "port"), ("metrics_port", "metrics port")):
            found = examined(database_url=url, **{setting: port}).fault
            assert found["check"] == check
            assert f"127.0.0.1:{port} is in use by another program" in found["message"]
            assert f"set DRAFTLINE_{setting.upper()}" in found["fix"]


def test_unreadable_key_is_named(tmp_path: Path) -> None:
    files = AUTHORITY.issue().write(tmp_path)
    files["tls_key_file"].chmod(0)
    found = examined_without_privileges(data_dir=tmp_path, **files).fault
    assert found["check"] == "tls"
    assert found["message"] == f"DRAFTLINE_TLS_KEY_FILE: {files['tls_key_file']} cannot be read: Permission denied"
    assert found["fix"].startswith(f"make it readable by user {os.geteuid()}")


def test_expired_certificate_is_named(url: str, tmp_path: Path) -> None:
    files = AUTHORITY.issue(lifetime=-timedelta(hours=1)).write(tmp_path)
    found = examined(database_url=url, **files).fault
    assert found["check"] == "tls"
    assert found["message"].startswith("the certificate expired at ")
    assert "install a valid certificate" in found["fix"]


def test_unwritable_data_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o555)
    for place in (folder, folder / "deeper"):
        found = examined_without_privileges(data_dir=place).fault
        assert found["check"] == "data folder"
        assert "is not writable" in found["message"]
        assert "DRAFTLINE_DATA_DIR" in found["fix"]
    assert list(folder.iterdir()) == []


def test_wrong_password_is_named(tmp_path: Path) -> None:
    with with_passwords(tmp_path) as url:
        found = examined(database_url=url.replace("draftline@", "guest:hush@")).fault
        assert found["check"] == "database"
        assert "rejects the password" in found["message"]
        assert "correct the user and password in DRAFTLINE_DATABASE_URL" in found["fix"]
        assert "hush" not in str(found)
        assert examined(database_url=url.replace("draftline@", "guest:right@")).fault["check"] == "schema"


def test_inconsistent_draft_is_reported_with_a_fix_that_works(url: str) -> None:
    run_sql(url, 'UPDATE draftline.draft SET merged = \'{"title": "Jaws"}\'')
    found = examined(database_url=url).fault
    assert found["message"] == "of 1, 1 differ from their edits, and 0 have no record"
    assert "`draftline check`" in found["fix"]
    assert examined("--quick", database_url=url).wrong == []
    assert invoked("check", "--repair", database_url=url).returncode == 0
    assert examined(database_url=url).wrong == []


@pytest.mark.parametrize(("hours", "way"), [(1, "ahead of"), (-1, "behind")])
def test_clock_that_is_an_hour_off_is_named(url: str, monkeypatch: pytest.MonkeyPatch, hours: int, way: str) -> None:
    now = doctor.now
    monkeypatch.setattr(doctor, "now", lambda: now() + timedelta(hours=hours))
    for name, value in environment(database_url=url, **OWN).items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(main, ["doctor", "--json"])
    *lines, _ = [json.loads(line) for line in done.stdout.splitlines()]
    (found,) = [line for line in lines if line["state"] == "fault"]
    assert found["check"] == "clock"
    assert found["message"].startswith("the clock of this machine is 3,")
    assert found["message"].endswith(f" s {way} the database's")
    assert "NTP" in found["fix"]
    assert done.exit_code == 1


# Further problems.


@pytest.mark.parametrize(
    ("settings", "check", "message"),
    [
        ({"port": "http"}, "settings", "DRAFTLINE_PORT: "),
        ({"host": "0.0.0.0"}, "protection", "refuses DRAFTLINE_HOST=0.0.0.0"),
        ({"host": "192.0.2.1", "dangerously_serve_unprotected": True}, "port", "is not an address of this machine"),
        ({"postgres_bin": "/nowhere"}, "postgres programs", "No PostgreSQL binaries"),
        ({"database_url": "postgresql://ada@localhost:none/films"}, "settings", "has a port that is not a number"),
        ({"auth_service_keys_file": "/nowhere"}, "authentication", "cannot be read: No such file"),
        ({"data_dir": "/proc/version"}, "data folder", "is not a directory"),
        ({"postgres_bin": "{failing}"}, "postgres programs", "postgres does not run (status 3): no library"),
        ({"postgres_bin": "{broken}"}, "postgres programs", "postgres does not run: Exec format error"),
        ({"data_dir": "{damaged}"}, "data folder", "PG_VERSION is damaged"),
    ],
)
def test_invalid_configuration_is_reported(tmp_path: Path, settings: dict[str, Any], check: str, message: str) -> None:
    for name, program in (("failing", "#!/bin/sh\necho no library >&2; exit 3\n"), ("broken", "none")):
        (tmp_path / name).mkdir()
        for each in ("initdb", "postgres"):
            (tmp_path / name / each).write_text(program)
            (tmp_path / name / each).chmod(0o755)
    (tmp_path / "damaged" / "cluster").mkdir(parents=True)
    (tmp_path / "damaged" / "cluster" / "PG_VERSION").write_text("")
    given = {name: tmp_path / text[1:-1] if str(text).startswith("{") else text for name, text in settings.items()}
    found = examined(**{"data_dir": tmp_path / "none", **given})
    faults = [each for each in found.wrong if each["state"] == "fault"]
    assert [each["check"] for each in faults] == [check]
    assert message in faults[0]["message"]
    assert faults[0]["fix"]


def test_database_of_another_name_and_one_that_was_never_migrated_are_named(postgres_url: str) -> None:
    missing = examined(database_url=postgres_url.replace("/draftline?", "/no_such?")).fault
    assert "does not exist on its server" in missing["message"]
    bare = examined(database_url=postgres_url.replace("/draftline?", "/postgres?")).fault
    assert bare["message"] == "the database was never migrated, or its schema was dropped"
    assert bare["fix"].startswith("run `draftline migrate` for a new database")


def test_schema_of_a_newer_version_is_named(url: str) -> None:
    run_sql(url, "UPDATE draftline.alembic_version SET version_num = '9999'")
    assert "newer" in examined(database_url=url).fault["message"]


def test_user_who_did_not_migrate_is_warned(url: str) -> None:
    run_sql(
        url, "CREATE ROLE doctor_guest LOGIN", "GRANT USAGE ON SCHEMA draftline TO doctor_guest",
        "GRANT ALL ON ALL TABLES IN SCHEMA draftline TO doctor_guest",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA draftline TO doctor_guest",
    )  # fmt: skip
    try:
        (found,) = examined(database_url=url.replace("draftline@", "doctor_guest@")).wrong
        assert (found["check"], found["state"]) == ("privileges", "warning")
    finally:
        run_sql(url, "DROP OWNED BY doctor_guest", "DROP ROLE doctor_guest")


@pytest.mark.parametrize(
    ("statement", "message", "fix"),
    [
        ("REVOKE UPDATE ON draftline.draft FROM doctor_user", "may not read and write draft", AS_MIGRATOR),
        ("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA draftline FROM PUBLIC", "may not execute ", AS_MIGRATOR),
        (
            "REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC",
            "may not create temporary tables",
            "GRANT TEMPORARY ON DATABASE to the role",
        ),
    ],
    ids=["table", "functions", "temporary tables"],
)
def test_missing_privilege_is_named_by_serve_sync_and_doctor(
    url: str, tmp_path: Path, statement: str, message: str, fix: str
) -> None:
    granted = [f"GRANT ALL ON ALL {kind} IN SCHEMA draftline TO doctor_user" for kind in ("TABLES", "SEQUENCES")]
    granted.append(statement.format(name=urlsplit(url).path.removeprefix("/")))
    run_sql(url, "CREATE ROLE doctor_user LOGIN", "GRANT USAGE ON SCHEMA draftline TO doctor_user", *granted)
    endpoints = tmp_path / "upstreams.toml"
    endpoints.touch()
    try:
        own = url.replace("draftline@", "doctor_user@")
        fault = examined(database_url=own).fault
        assert (fault["check"], fault["fix"]) == ("privileges", fix)
        assert message in fault["message"]
        for command in ("serve", "sync"):
            refused = invoked(command, database_url=own, upstreams_file=endpoints, **OWN)
            assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
            assert f"the role of DRAFTLINE_DATABASE_URL {message}" in refused.stderr
            assert refused.stderr.rstrip().endswith(fix)
    finally:
        run_sql(url, "DROP OWNED BY doctor_user", "DROP ROLE doctor_user")


def test_missing_table_is_named_by_serve_check_and_doctor(url: str) -> None:
    run_sql(url, "DROP TABLE draftline.draft CASCADE")
    fault = examined(database_url=url).fault
    assert fault["check"] == "schema"
    assert fault["message"].endswith("are missing: table draft")
    for command in ("serve", "check", "migrate"):
        refused = invoked(command, database_url=url, **OWN)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
        assert "the schema lacks parts of its revision (table draft): restore a complete dump" in refused.stderr


def test_database_that_is_read_only_by_default_is_named_by_doctor_and_migrate(url: str) -> None:
    name = urlsplit(url).path.removeprefix("/")
    run_sql(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    fault = examined(database_url=url).fault
    assert fault["check"] == "database"
    assert "read-only by default" in fault["message"]
    refused = invoked("migrate", database_url=url)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
    assert "(SQLSTATE 25006): migrate the primary, and remove default_transaction_read_only" in refused.stderr


def test_statement_timeout_of_the_database_does_not_end_a_migration(url: str) -> None:
    name = urlsplit(url).path.removeprefix("/")
    run_sql(
        url, "DROP SCHEMA draftline CASCADE",
        "CREATE FUNCTION public.wait() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.35); END'",
        "CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE SEQUENCE') EXECUTE FUNCTION public.wait()",
        f"ALTER DATABASE {name} SET statement_timeout = '300ms'",
    )  # fmt: skip
    assert invoked("migrate", database_url=url).returncode == 0


def test_too_few_connections_are_warned_of(url: str) -> None:
    (found,) = examined(database_url=url, workers=4, pool_size=50).wrong
    assert (found["check"], found["state"]) == ("connections", "warning")
    assert "may open 208" in found["message"]


def test_connection_limit_of_the_role_and_of_the_database_counts(url: str) -> None:
    name, role = urlsplit(url).path.removeprefix("/"), f"limited_{uuid4().hex[:8]}"
    run_sql(
        url, f"CREATE ROLE {role} LOGIN IN ROLE draftline CONNECTION LIMIT 9",
        f"ALTER DATABASE {name} CONNECTION LIMIT 7",
    )  # fmt: skip
    try:
        as_role = url.replace("draftline@", f"{role}@").replace("user=draftline", f"user={role}")
        assert role in as_role
        (found,) = [each for each in examined("--quick", database_url=as_role).wrong if each["check"] == "connections"]
        assert found["message"].endswith("and PostgreSQL allows 7 in total")
        assert "CONNECTION LIMIT" in found["fix"]
    finally:
        run_sql(url, f"DROP ROLE {role}")


def test_sessions_without_triggers_are_named(url: str) -> None:
    name = urlsplit(url).path.removeprefix("/")
    run_sql(url, f"ALTER DATABASE {name} SET session_replication_role = replica")
    found = examined("--quick", database_url=url).fault
    assert found["check"] == "database"
    assert found["message"].endswith("run no triggers, which switchovers to partitioned tables need")


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (StorageFullError("full"), "free space"),
        (DeadlineExceededError("late"), "--quick"),
        (ContentionError("locked"), "draftline top"),
        (DatabaseUnavailableError("away"), "check that PostgreSQL runs"),
        (OverloadedError("busy"), "PostgreSQL lacks memory or connections"),
        (InvalidDocumentError("odd"), "PostgreSQL's log has the reason"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else "",
)
def test_examination_that_fails_has_a_fix_of_its_own(
    url: str, monkeypatch: pytest.MonkeyPatch, error: DraftlineError, fix: str
) -> None:
    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(doctor_database, "_log", fail)
    found = examined("--quick", database_url=url).fault
    assert found["message"] == f"the examination failed: {error.message}"
    assert fix in found["fix"]


# It changes nothing.


def test_folder_and_database_that_are_not_there_are_not_made(tmp_path: Path) -> None:
    found = examined(data_dir=tmp_path / "data")
    assert found.wrong == []
    assert found.finding("database")["state"] == "skipped"
    assert list(tmp_path.iterdir()) == []


def test_embedded_database_is_examined_while_its_service_runs_and_left_alone_when_not(data_dir: Path) -> None:
    with served(data_dir=data_dir) as service:
        found = examined(data_dir=data_dir, port=service.address.rpartition(":")[2])
        assert found.wrong == []
        assert found.finding("schema")["message"] == f"revision {revisions.head()}"
        assert service.stop(15) == 0
    before = contents(data_dir)
    assert examined(data_dir=data_dir).wrong == []
    assert contents(data_dir) == before


def contents(folder: Path) -> dict[str, tuple[int, float]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime) for path in folder.rglob("*")}


def test_its_connections_take_no_write(url: str) -> None:
    """PostgreSQL rejects every write."""

    async def write() -> None:
        async with doctor_database._opened(url, Settings()) as opened:
            await opened.fetch(compiled("write", text("CREATE TABLE public.made ()"))[0], {})

    with pytest.raises(DraftlineError):
        beside(asyncio.run, write())


@contextmanager
def with_passwords(folder: Path) -> Iterator[str]:
    """A PostgreSQL that wants the password `right` of `guest`."""
    with EmbeddedPostgres(folder / "data", durable=False) as postgres:
        run_sql(postgres.url, "CREATE ROLE guest LOGIN SUPERUSER PASSWORD 'right'")
        rules = folder / "data" / "cluster" / "pg_hba.conf"
        rules.write_text("local all guest scram-sha-256\nlocal all all trust\n")
        run_sql(postgres.url, "SELECT pg_reload_conf()")
        yield postgres.url
