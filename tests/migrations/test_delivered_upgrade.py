"""The data of the version that was delivered before survive the upgrade, and the way back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from draftline import Client, DeclaredStatistic, SortKey, op
from draftline_server.ops import migrate, revisions
from support import sql
from support.server_process import invoked
from support.servers import beside, cloned, serving

DELIVERED = "0016"  # the newest revision of that version
# Entries of orders and tallies of statistics derive from the records, and are stored in another form since.
STORED = ("collection", "record", "draft", "change", "request")
USERS = ("ada", "bob")


def fill(address: str) -> None:
    """Write data of all kinds: specs, records, deleted and purged ones, drafts of each kind, reverts and imports."""
    with Client(address, tenant_id="acme", user="ada") as ada, Client(address, tenant_id="acme", user="bob") as bob:
        ada.put_collection(
            "films",
            fields={"/title": "text", "/n": "number", "/ok": "boolean", "/day": "date"},
            orders=[[SortKey("/n", descending=True), SortKey("/title")]],
            json_schema={"type": "object", "properties": {"title": {"type": "string"}}},
            statistics=[DeclaredStatistic("ok", ("/ok",), ("/n",))],
        )
        ada.put_collection("paths", history="paths")
        films = [(f"f-{n:02}", {"title": f"é\\{n}\n", "n": n / 3, "ok": n > 5, "big": 10**30 + n}) for n in range(30)]
        imported = ada.import_content("films", films, change_reason="import")
        ada.create_content("films", {"o": {"a": [1, {"b": None}]}}, record_id="child", parent_id="f-01", position=3)
        ada.patch_content("films", "f-01", {"n": 100, "day": "2026-11-20"})
        ada.patch_content("films", "f-02", operations=[op.increment("/n"), op.union("/tags", ["x"])])
        ada.patch_content("films", "f-03", {"ok": "not a boolean"})
        ada.patch_content("paths", "p", {"a": 1}, allow_missing=True)
        for record_id in ("f-04", "f-05", "f-06"):
            ada.delete_content("films", record_id)
        ada.undelete_content("films", "f-05")
        ada.purge_content("films", ["f-06"])
        for user in (ada, bob):
            user.save_draft("films", "f-07", {"n": -1, "title": "draft"}, session_id="evening", change_reason="why")
            user.save_draft("films", "f-08", operations=[op.increment("/n", 5)])
        ada.save_draft("films", "f-09", delete=True)
        ada.save_draft("films", "new", create={"n": 1.50})
        bob.save_draft("films", "f-10", parent_id="f-01", position=1)
        committed = bob.commit("films", session_id="evening")
        ada.revert(commit_id=committed.commit_id, conflict_policy="keep_mine")
        assert imported.inserted_count == len(films)
        ada.wait_until_built("films")


def seen(address: str) -> dict[str, Any]:
    """Return what the users read: lists in several orders, the change log and statistics."""
    views: dict[str, Any] = {}
    for name in USERS:
        with Client(address, tenant_id="acme", user=name) as user:
            user.wait_until_built("films")
            for order in ("", "n desc", "title", "day desc"):
                views[name, order] = list(user.get_merged("films", order_by=order, show_deleted=True))
            views[name, "filter"] = list(user.get_merged("films", filter="n > 3 AND ok = true", order_by="n desc"))
            views[name, "mistyped"] = [
                each.record_id for each in user.get_merged("films", filter="record.mistyped = true")
            ]
            views[name, "changes"] = list(user.changes())
            views[name, "statistics"] = user.statistics("films", measures=["count", "sum(/n)"], group_by=["/ok"])
    return views


def stored(url: str) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for table in STORED:
        rows = sql.fetch(url, f"SELECT to_jsonb(t)::text AS row FROM draftline.{table} AS t")
        found[table] = sorted((json.loads(row["row"]) for row in rows), key=lambda row: json.dumps(row, sort_keys=True))
    return found


def without_new_columns(rows: dict[str, list[dict[str, Any]]], former: dict[str, list[dict[str, Any]]]) -> Any:
    """Return the rows with the columns of the former ones."""
    columns = {table: former[table][0].keys() for table in STORED}
    cut = {table: [{name: row[name] for name in columns[table]} for row in rows[table]] for table in STORED}
    return {table: sorted(cut[table], key=lambda row: json.dumps(row, sort_keys=True)) for table in STORED}


@pytest.fixture
def url(postgres_url: str, template: str) -> Iterator[str]:
    with cloned(postgres_url, template) as made:
        yield made


def test_data_of_the_delivered_version_survive_the_upgrade_and_the_way_back(url: str) -> None:
    with serving(url) as server:
        fill(server.address)
        expected = seen(server.address)
    assert beside(migrate.go_to, url, DELIVERED) == DELIVERED
    before = stored(url)
    assert all(before.values())
    assert beside(migrate.upgrade, url) == revisions.head()
    assert without_new_columns(stored(url), before) == before
    with serving(url) as server:
        assert seen(server.address) == expected
    assert invoked("check", database_url=url).returncode == 0
    assert beside(migrate.go_to, url, DELIVERED) == DELIVERED
    assert stored(url) == before
