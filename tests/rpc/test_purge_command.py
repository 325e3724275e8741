"""`draftline purge`: it previews, asks, and removes batch by batch."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from draftline_server.cli import main, purge
from support.responses import Records


@pytest.fixture
def run(server: Any, records: Records) -> Any:
    def invoke(*arguments: str, **options: Any) -> Any:
        where = ("--address", server.address, "--tenant", records.tenant_id)
        return CliRunner().invoke(main, ["purge", records.collection, *where, *arguments], **options)

    return invoke


@pytest.fixture
def gone(records: Records) -> None:
    for record_id in ("a", "b", "c"):
        records.create(record_id, {})
        records.delete(record_id)
    records.create("live", {})


@pytest.mark.usefixtures("gone")
def test_dry_run_tells_how_many_and_removes_none(run: Any, records: Records) -> None:
    ended = run("--deleted-before", "2999-01-01", "--dry-run", "--json")
    told = {"collection": "films", "records": 3, "drafts": 0, "dry_run": True}
    assert (ended.exit_code, json.loads(ended.stdout)) == (0, told)
    assert records.get("a", show_deleted=True)


@pytest.mark.usefixtures("gone")
def test_purge_goes_on_until_nothing_is_left(run: Any, records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "BATCH", 2)
    ended = run("--id", "a", "--id", "b", "--id", "c", "--yes", "--reason", "asked to")
    assert (ended.exit_code, ended.stdout) == (0, "films: 3 records and 0 drafts over them removed permanently\n")
    assert all(records.is_missing(record_id) for record_id in ("a", "b", "c"))
    again = run("--deleted-before", "2999-01-01T00:00:00Z", "--yes", "--json")
    assert json.loads(again.stdout)["records"] == 0
    assert records.content("live") == {}


@pytest.mark.usefixtures("gone")
def test_purge_that_cannot_ask_removes_nothing(run: Any, records: Records) -> None:
    ended = run("--id", "a")
    assert ended.exit_code == 2
    assert "pass --yes" in ended.output
    assert records.get("a", show_deleted=True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Pass --id"),
        (("--deleted-before", "soon"), "is not a time"),
        (("--deleted-before", "2026-01-01T10:00:00"), "has no offset"),
    ],
)
def test_purge_without_a_clear_selection_is_refused(run: Any, arguments: tuple[str, ...], told: str) -> None:
    ended = run(*arguments)
    assert ended.exit_code == 2
    assert told in ended.output


@pytest.mark.usefixtures("gone")
def test_purge_of_a_live_record_fails(run: Any, records: Records) -> None:
    ended = run("--id", "a", "--id", "live", "--yes")
    assert ended.exit_code == 1
    assert "record 'live' is not deleted" in ended.output
    assert records.get("a", show_deleted=True)
