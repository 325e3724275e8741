"""`draftline import` and `draftline collections`, against a service."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from draftline import Client, NotFoundError
from support.server_process import draftline, invoked

OPTIONS = ("--id-from", "Title", "--id-from", "Release Date")


@pytest.fixture
def tenant() -> str:
    return f"tenant-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def client(server_address: str, tenant: str) -> Iterator[Client]:
    with Client(server_address, tenant_id=tenant) as connected:
        yield connected


@pytest.fixture
def where(server_address: str, tenant: str) -> tuple[str, ...]:
    return ("--address", server_address, "--tenant", tenant, "--collection", "movies")


def test_import_of_the_films_loads_all_and_again_none(films: Path, where: tuple[str, ...], client: Client) -> None:
    first = draftline("import", str(films), *where, *OPTIONS)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "movies: 3,201 inserted, 0 updated, 0 unchanged, 0 deleted\n"
    again = invoked("import", str(films), *where, *OPTIONS)
    assert again.stdout == "movies: 0 inserted, 0 updated, 3,201 unchanged, 0 deleted\n"
    told = json.loads(invoked("import", str(films), *where, *OPTIONS, "--json").stdout)
    assert told == {
        "collection": "movies", "inserted_count": 0, "updated_count": 0, "unchanged_count": 3201, "deleted_count": 0,
        "commit_id": "",
    }  # fmt: skip
    stored = client.get_content("movies", "the-land-girls-jun-12-1998")
    assert stored.content == json.loads(films.read_text())[0]


def test_snapshot_deletes_what_the_file_does_not_hold(where: tuple[str, ...], client: Client) -> None:
    invoked("import", "-", *where, "--format", "ndjson", "--id", "id", stdin=b'{"id": "a"}\n{"id": "b"}\n')
    lines = b'{"id": "b"}\n{"id": "c"}'
    done = invoked("import", "-", *where, "--format", "ndjson", "--id", "id", "--mode", "snapshot", stdin=lines)
    assert done.stdout == "movies: 1 inserted, 0 updated, 1 unchanged, 1 deleted\n"
    with pytest.raises(NotFoundError):
        client.get_content("movies", "a")


def test_numbers_stay_exact_from_every_format(where: tuple[str, ...], client: Client, tmp_path: Path) -> None:
    digits, decimals = "123456789012345678901234567890", "0.1234567890123456789012345678901234567890"
    texts = {
        "a.json": f'[{{"id": "a.json", "n": {digits}, "d": {decimals}}}]',
        "a.ndjson": f'{{"id": "a.ndjson", "n": {digits}, "d": {decimals}}}\n',
        "a.csv": f"id,n,d\na.csv,{digits},{decimals}\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        done = invoked("import", str(tmp_path / name), *where, "--id", "id")
        assert done.returncode == 0, done.stderr
        assert client.get_content("movies", name).content == {"id": name, "n": int(digits), "d": Decimal(decimals)}


def test_broken_file_imports_nothing_and_says_where(where: tuple[str, ...], client: Client) -> None:
    done = invoked("import", "-", *where, "--format", "json", "--id", "id", stdin=b'[{"id": "a"}, {"id": "b",}]')
    assert done.returncode == 1
    assert done.stderr.startswith("Error: record 2 (index 1): ")
    with pytest.raises(NotFoundError):
        client.get_content("movies", "a")


def test_refusal_of_the_service_is_told_in_a_line(where: tuple[str, ...]) -> None:
    done = invoked("import", "-", *where, "--format", "ndjson", "--id", "id", stdin=b'{"id": "a"}\n{"id": "a"}\n')
    assert done.returncode == 1
    assert "appears twice" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_service_out_of_reach_is_told_with_what_to_do(films: Path) -> None:
    done = invoked("import", str(films), "--tenant", "t", "--collection", "c", "--address", "127.0.0.1:1", *OPTIONS)
    assert done.returncode == 3
    assert "`draftline serve` starts it" in done.stderr
    assert "Traceback" not in done.stderr


def test_collections_are_put_shown_and_listed(server_address: str, tenant: str, tmp_path: Path) -> None:
    where = ("--address", server_address, "--tenant", tenant)
    put = invoked(
        "collections", "put", "movies", *where, "--field", "/Title=text", "--field", "/a=b=number",
        "--order", "/a=b desc, /Title", "--history", "paths",
    )  # fmt: skip
    assert put.returncode == 0, put.stderr
    assert "/a=b desc, /Title" in put.stdout
    shown = invoked("collections", "show", "movies", *where, "--json")
    orders = [["/Title"], ["/a=b"], ["/a=b desc", "/Title"]]
    told = {
        "collection": "movies",
        "version": 1,
        "fields": {"/Title": "text", "/a=b": "number"},
        "refuse": [],
        "orders": [["/a=b desc", "/Title"]],
        "json_schema": None,
        "history": "paths",
        "statistics": [],
        "relations": [],
        "indexes": [{"order": order, "state": "ready"} for order in orders],
    }
    assert json.loads(shown.stdout) == {**told, "mismatch_counts": {"/Title": 0, "/a=b": 0}}
    declaration = tmp_path / "movies.json"
    declaration.write_text(shown.stdout)
    again = invoked("collections", "put", "movies", *where, "--file", str(declaration), "--expected-version", "1")
    assert "movies, version 1" in again.stdout
    assert json.loads(invoked("collections", "list", *where, "--json").stdout) == [told]
    listed = invoked("collections", "list", *where)
    assert "movies" in listed.stdout
    assert "3 of 3" in listed.stdout


def test_names_are_shown_letter_by_letter(server_address: str, tenant: str) -> None:
    name, where = "[bold]:apple:[/red]", ("--address", server_address, "--tenant", tenant)
    put = invoked("collections", "put", name, *where, "--field", "/[/a]=text")
    assert (put.returncode, put.stderr) == (0, "")
    assert put.stdout.startswith(f"{name}, ")
    assert "/[/a] " in put.stdout
    assert f" {name} " in invoked("collections", "list", *where).stdout


def test_unknown_collection_is_told_in_a_line(server_address: str, tenant: str) -> None:
    shown = invoked("collections", "show", "nothing", "--address", server_address, "--tenant", tenant)
    assert shown.returncode == 1
    assert shown.stderr.startswith("Error: NOT_FOUND/")
    assert "meant" not in shown.stderr


def test_near_name_is_told_for_an_unknown_collection(server_address: str, tenant: str) -> None:
    where = ("--address", server_address, "--tenant", tenant)
    put = invoked("collections", "put", "movies", *where, "--json")
    assert json.loads(put.stdout)["version"] == 1
    shown = invoked("collections", "show", "movis", *where)
    assert (shown.returncode, shown.stderr.splitlines()[-1]) == (1, "Did you mean 'movies'?")
