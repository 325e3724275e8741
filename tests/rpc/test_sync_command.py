"""`draftline sync` with its subcommands, against a service."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result
from draftline import Client
from draftline_server.cli import main


@pytest.fixture
def tenant(server_address: str, tenant_id: str) -> str:
    """A tenant with a bound collection, of which one record waits."""
    with Client(server_address, tenant_id=tenant_id, user="ada") as client:
        client.put_sync("pems", "toy", ["parts"])
        client.create_content("parts", {"rate": 1}, record_id="p-1")
        client.link_record("parts", "p-1", "r-1")
    return tenant_id


def run(address: str, tenant: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["sync", *arguments, "--tenant", tenant, "--address", address])


def test_status_and_records_are_printed(server_address: str, tenant: str) -> None:
    """Print the counts of a sync and the records that wait, as tables and as JSON."""
    told = json.loads(run(server_address, tenant, "status", "pems", "--json").stdout)
    assert (told["committed"], told["failed"], told["suspended"]) == (1, 0, None)
    assert run(server_address, tenant, "status", "pems").exit_code == 0
    (record,) = json.loads(run(server_address, tenant, "records", "parts", "--json").stdout)
    assert (record["record_id"], record["state"]) == ("p-1", "committed")
    assert "p-1" in run(server_address, tenant, "records", "parts", "--state", "committed").stdout
    assert json.loads(run(server_address, tenant, "events", "pems", "--json").stdout) == []


def test_sync_is_paused_resumed_and_run(server_address: str, tenant: str) -> None:
    """Change the state of a sync by commands."""
    with Client(server_address, tenant_id=tenant, user="ada") as client:
        assert run(server_address, tenant, "pause", "pems", "--push").exit_code == 0
        assert client.get_sync("pems").push_paused
        assert run(server_address, tenant, "resume", "pems").exit_code == 0
        assert not client.get_sync("pems").push_paused
    assert run(server_address, tenant, "run", "pems", "--snapshot", "--allow-deletions", "3").exit_code == 0
    assert run(server_address, tenant, "run", "pems").exit_code == 2
    assert run(server_address, tenant, "retry", "parts", "--all").exit_code == 0
    assert run(server_address, tenant, "retry", "parts").exit_code == 2


def test_dry_run_prints_what_a_push_would_send(server_address: str, tenant: str) -> None:
    """Print the counts and some records of a preview, and refuse a preview of a pull."""
    with Client(server_address, tenant_id=tenant, user="ada") as client:
        client.create_content("parts", {"rate": 2}, record_id="p-2")
    (told,) = json.loads(run(server_address, tenant, "run", "pems", "--push", "--dry-run", "--json").stdout)
    assert (told["collection"], told["created"], told["read"], told["awaits_snapshot"]) == ("parts", 1, 1, True)
    assert told["examples"] == [{"record_id": "p-2", "kind": "create"}, {"record_id": "p-1", "kind": "read"}]
    printed = run(server_address, tenant, "run", "pems", "--push", "--dry-run")
    assert ("parts: create p-2" in printed.stdout, "no snapshot" in printed.stderr) == (True, True)
    assert run(server_address, tenant, "run", "pems", "--snapshot", "--dry-run").exit_code == 2


def test_ids_with_control_characters_are_shown_as_escapes(server_address: str, tenant: str) -> None:
    with Client(server_address, tenant_id=tenant, user="ada") as client:
        client.create_content("parts", {"rate": 2}, record_id="\u202ep-2")
        client.link_record("parts", "\u202ep-2", "r-2")
    dry_run = ("run", "pems", "--push", "--dry-run")
    for arguments in (("records", "parts"), (*dry_run, "--json"), dry_run, ("records", "parts", "--json")):
        printed = run(server_address, tenant, *arguments)
        assert (r"\u202ep-2" in printed.stdout, "\u202e" in printed.stdout) == (True, False), arguments
    assert [each["record_id"] for each in json.loads(printed.stdout)] == ["p-1", "\u202ep-2"]


def test_decision_without_a_conflict_fails(server_address: str, tenant: str) -> None:
    """Report a decision at a path without a conflict, and a record that is linked already."""
    refused = run(server_address, tenant, "resolve", "parts", "p-1", "--mine", "/rate")
    assert (refused.exit_code, "no conflict" in refused.output) == (1, True)
    assert run(server_address, tenant, "resolve", "parts", "p-1").exit_code == 2
    for value, message in (("/rate", "takes PATH=JSON"), ("/rate=high", "--value /rate: the text after = is not JSON")):
        wrong = run(server_address, tenant, "resolve", "parts", "p-1", "--value", value)
        assert (wrong.exit_code, message in wrong.output) == (2, True)
    assert run(server_address, tenant, "link", "parts", "p-1", "r-2").exit_code == 1


def test_workers_need_a_file_of_upstreams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the setting that `draftline sync` needs."""
    monkeypatch.delenv("DRAFTLINE_UPSTREAMS_FILE", raising=False)
    result = CliRunner().invoke(main, ["sync"])
    assert (result.exit_code, "DRAFTLINE_UPSTREAMS_FILE" in result.output) == (2, True)
