"""`draftline collections infer`: it reports, proposes and puts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from draftline import Client, DeclaredRelation, DeclaredStatistic, SortKey
from support.server_process import invoked
from support.servers import RunningServer

Infer = Callable[..., Any]


@pytest.fixture
def client(server: RunningServer, tenant_id: str) -> Iterator[Client]:
    with Client(server.address, tenant_id=tenant_id, user="dev") as connected:
        yield connected


@pytest.fixture
def infer(server: RunningServer, tenant_id: str) -> Infer:
    return lambda *arguments: invoked(
        "collections", "infer", "films", *arguments, "--address", server.address, "--tenant", tenant_id
    )


def filled(client: Client, count: int = 60) -> None:
    client.import_content("films", ((f"f-{n:03}", {"Year": 1900 + n, "Genre": f"g{n % 3}"}) for n in range(count)))


def test_infer_prints_keys_and_writes_nothing(client: Client, infer: Infer) -> None:
    filled(client)
    client.patch_content("films", "f-001", {"Year": "unknown"})
    client.save_draft("films", "f-002", {"Draft": 1})
    shown = infer("--all")
    assert shown.returncode == 0
    assert "/Year has values of several types: 1 string, 59 integer." in shown.stdout
    assert "/Draft" not in shown.stdout
    assert [each.version for each in client.list_collections()] == [0]


def test_inferred_json_holds_a_spec_that_put_accepts(
    client: Client, infer: Infer, server: RunningServer, tenant_id: str, tmp_path: Any
) -> None:
    filled(client)
    found = json.loads(infer("--all", "--json").stdout)
    assert found["record_count"] == 60
    assert found["keys"][0]["types"] == {"integer": 60} or found["keys"][1]["types"] == {"integer": 60}
    assert found["spec"]["orders"] == [["/Genre", "/Year desc"]]
    file = tmp_path / "films.json"
    file.write_text(json.dumps(found["spec"]))
    where = ("--address", server.address, "--tenant", tenant_id)
    assert invoked("collections", "put", "films", "--file", str(file), *where).returncode == 0


def test_sample_reads_both_ends_once(client: Client, infer: Infer) -> None:
    filled(client, 20)
    client.patch_content("films", "f-019", {"Last": 1})
    sampled = json.loads(infer("--sample", "6", "--json").stdout)
    assert sampled["record_count"] == 6
    assert "/Last" in [row["path"] for row in sampled["keys"]]
    assert json.loads(infer("--sample", "1000", "--json").stdout)["record_count"] == 20


def test_apply_adds_to_the_present_spec_after_confirmation(client: Client, infer: Infer) -> None:
    filled(client)
    genres = DeclaredStatistic("genres", ("/Genre",))
    author = DeclaredRelation("author", "/author", "people")
    order = [SortKey("/Year", descending=True)]
    client.put_collection(
        "films", fields={"/Year": "text", "/Genre": "text"}, orders=[order], statistics=[genres], relations=[author]
    )
    refused = infer("--all", "--apply")
    assert (refused.returncode, "pass --yes" in refused.stderr) == (2, True)
    assert client.get_collection("films").version == 1

    assert infer("--all", "--apply", "--yes").returncode == 0
    put = client.get_collection("films")
    assert {each.path: each.type for each in put.fields} == {"/Year": "text", "/Genre": "text"}
    assert put.json_schema is not None
    assert (put.statistics[0].statistic.name, put.relations[0].relation) == ("genres", author)
    assert tuple(order) in [each.keys for each in put.orders]
    again = infer("--all", "--apply", "--yes")
    assert "already has what is proposed" in again.stderr
    assert client.get_collection("films").version == 2


def test_apply_of_a_part_leaves_the_others(client: Client, infer: Infer) -> None:
    filled(client)
    assert infer("--all", "--apply", "--only", "fields", "--yes").returncode == 0
    put = client.get_collection("films")
    assert ({each.path for each in put.fields}, put.orders, put.json_schema) == ({"/Year", "/Genre"}, (), None)


def test_fields_that_present_relations_do_not_allow_are_not_added(client: Client, infer: Infer) -> None:
    content = {"author": {"name": "x"}, "editor": 7, "title": "t"}
    client.import_content("films", ((f"f-{n}", content) for n in range(9)))
    relations = [DeclaredRelation("author", "/author/id", "people"), DeclaredRelation("by", "/editor", "people")]
    client.put_collection("films", relations=relations)
    assert infer("--all", "--apply", "--yes").returncode == 0
    assert [each.path for each in client.get_collection("films").fields] == ["/title"]


def test_schema_that_is_too_large_names_the_parts_to_put(client: Client, infer: Infer) -> None:
    content = {f"k{n}": {f"{'x' * 100}{m}": n for m in range(20)} for n in range(150)}
    client.create_content("films", content, record_id="f")
    refused = infer("--apply", "--yes")
    assert refused.returncode == 1
    assert "may have 262,144" in refused.stderr
    assert infer("--apply", "--yes", "--only", "fields", "--only", "orders").returncode == 0


@pytest.mark.parametrize("key", ["Price\u00a0(USD)", "zero\u200bwidth", "line\u2028end", "private\ue000"])
def test_keys_with_unusual_characters_are_applied(client: Client, infer: Infer, key: str) -> None:
    client.import_content("films", ((f"f-{n}", {key: n}) for n in range(9)))
    assert infer("--all", "--apply", "--yes").returncode == 0
    assert [each.path for each in client.get_collection("films").fields] == [f"/{key}"]
    found = client.get_merged("films", filter=f'"{key}" > 6', order_by=f'"{key}" desc')
    assert [each.record_id for each in found] == ["f-8", "f-7"]


def test_infer_of_an_empty_collection_says_so(infer: Infer) -> None:
    refused = infer()
    assert (refused.returncode, refused.stderr) == (
        1,
        "Error: the collection 'films' has no records to infer a spec from\n",
    )
