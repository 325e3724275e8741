"""`draftline import` of CSV and of dirty files: what columns become, and where errors are."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from draftline import Client, DeclaredField
from draftline_server.cli import main
from support.server_process import draftline


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Load = Callable[..., Done]


@pytest.fixture
def client(server_address: str) -> Iterator[Client]:
    with Client(server_address, tenant_id=f"tenant-{uuid.uuid4().hex[:12]}") as connected:
        yield connected


@pytest.fixture
def load(server_address: str, client: Client, tmp_path: Path) -> Load:
    """Import a text as a file of this name, or by standard input if that is `-`."""
    tenant = client._tenant(None)

    def run(text: str | bytes, *options: str, name: str = "parts.csv") -> Done:
        data = text.encode() if isinstance(text, str) else text
        where: tuple[str, ...] = ("--address", server_address, "--tenant", tenant, "--collection", "parts")
        if name == "-":
            done = draftline("import", "-", *where, *options, stdin=data)
            return Done(done.returncode, done.stdout, done.stderr)
        (tmp_path / name).write_bytes(data)
        result = CliRunner().invoke(main, ["import", str(tmp_path / name), *where, *options])
        return Done(result.exit_code, result.stdout, result.stderr)

    return run


def contents(client: Client) -> dict[str, dict[str, Any]]:
    return {each.record_id: each.content for each in client.get_merged("parts")}


def test_types_belong_to_columns_and_are_told(load: Load, client: Client) -> None:
    text = 'ident,n,ok,q,none\n04L,1.50,true,"1",\n18,-2,false,"2",\n1E8,3,,"3",\n'
    done = load(text, "--id", "ident")
    assert (done.returncode, done.stdout) == (0, "parts: 3 inserted, 0 updated, 0 unchanged, 0 deleted\n")
    assert done.stderr.splitlines() == [
        "ident: text (the ids)",
        "n: number",
        "ok: boolean",
        'q: text ("1" on line 2 is quoted)',
        "none: null, all cells are empty",
    ]
    assert contents(client) == {
        "04L": {"ident": "04L", "n": Decimal("1.50"), "ok": True, "q": "1", "none": None},
        "18": {"ident": "18", "n": -2, "ok": False, "q": "2", "none": None},
        "1E8": {"ident": "1E8", "n": 3, "ok": None, "q": "3", "none": None},
    }
    assert [each.record_id for each in client.get_merged("parts", filter='ident = "18"')] == ["18"]
    told = json.loads(load(text, "--id", "ident", "--json").stdout)
    assert told["unchanged_count"] == 3
    assert told["columns"] == {"ident": "text", "n": "number", "ok": "boolean", "q": "text", "none": None}


def test_ids_are_the_cells_as_they_stand(load: Load, client: Client) -> None:
    assert load("id,n\n12e4567,1\n1.9,2\ntrue,3\n007,4\n", "--id", "id").returncode == 0
    assert set(contents(client)) == {"12e4567", "1.9", "true", "007"}


def test_declared_type_comes_before_the_cells(load: Load, client: Client) -> None:
    client.put_collection("parts", fields={"/code": "text", "/price": "number", "/due": "date", "/a~1b": "text"})
    text = "id,code,price,due,a/b\nx,18,007,2026-11-20,1\n"
    done = load(text, "--id", "id")
    assert "code: text (declared by the collection spec)" in done.stderr
    assert contents(client) == {"x": {"id": "x", "code": "18", "price": 7, "due": "2026-11-20", "a/b": "1"}}
    assert load(text, "--id", "id", "--number", "code", "--types", "text").returncode == 0
    assert contents(client)["x"] == {"id": "x", "code": 18, "price": "007", "due": "2026-11-20", "a/b": "1"}
    assert load(text, "--id", "id", "--types", "infer").returncode == 0
    assert contents(client)["x"] == {"id": "x", "code": 18, "price": "007", "due": "2026-11-20", "a/b": 1}
    done = load("id,code,price,due\nx,18,n/a,\n", "--id", "id")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith('Error: line 2, column price: "n/a" is not a number')
    assert "--text price" in done.stderr


def test_file_of_types_decides(load: Load, client: Client, tmp_path: Path) -> None:
    types = tmp_path / "types.json"
    types.write_text('{"zip": "text", "n": "number"}')
    assert load("id,zip,n\na,18,1e3\n", "--id", "id", "--types", str(types)).returncode == 0
    assert contents(client) == {"a": {"id": "a", "zip": "18", "n": 1000}}
    assert "no column 'n'" in load("id,zip\na,18\n", "--id", "id", "--types", str(types)).stderr
    types.write_text('{"fields": {"/zip": "text", "/other": "number", "/a/b": "text"}}')
    assert load("id,zip\na,19\n", "--id", "id", "--types", str(types)).returncode == 0
    assert contents(client)["a"]["zip"] == "19"
    types.write_text('{"zip": "varchar"}')
    assert "each one of text, number" in load("id,zip\na,19\n", "--id", "id", "--types", str(types)).stderr


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "No such file or directory"),
        ("", "line 1: a value is missing"),
        ('{\n"n": number}', "line 2: a value is missing"),
        ("{n: 1}", 'line 1: a key in double quotes or a closing "}" is missing'),
        ("[" * 100_000, "nested too deeply"),
        ("[1]", "must contain an object of columns and their types"),
        ('{"n": "integer"}', "must contain an object of columns and their types"),
    ],
)
def test_file_of_types_that_cannot_be_read_is_told_plainly(
    load: Load, tmp_path: Path, text: str | None, problem: str
) -> None:
    types = tmp_path / "types.json"
    if text is not None:
        types.write_text(text)
    done = load("id,n\na,1\n", "--id", "id", "--types", str(types))
    assert done.returncode
    assert "types.json" in done.stderr
    assert problem in done.stderr


@pytest.mark.parametrize(
    ("declaration", "problem"),
    [
        ("{", "declaration.json, line 1: a key in double quotes"),
        ('{"fields": []}', "fields must be an object of paths and types"),
        ('{"fields": {"/a": 5}}', "fields must be an object of paths and types"),
        ('{"fields": {"/a": "text"}, "refuse": 5}', "refuse must be an array of paths"),
        ('{"orders": 5}', "orders must be an array of arrays of keys"),
        ('{"orders": [[5]]}', "orders must be an array of arrays of keys"),
    ],
)
def test_declaration_that_cannot_be_read_is_told_plainly(
    server_address: str, tmp_path: Path, declaration: str, problem: str
) -> None:
    (tmp_path / "declaration.json").write_text(declaration)
    options = ["--tenant", "t", "--address", server_address, "--file", str(tmp_path / "declaration.json")]
    done = CliRunner().invoke(main, ["collections", "put", "parts", *options])
    assert done.exit_code
    assert problem in done.stderr


def test_later_cell_of_a_pipe_that_contradicts_is_an_error_with_the_flag(load: Load, client: Client) -> None:
    text = "id,ident\n" + "".join(f"{number},{number}\n" for number in range(10_001)) + "x,04L\n"
    options = ("--format", "csv", "--id", "id")
    done = load(text, *options, name="-")
    assert done.returncode == 1
    told = 'line 10003, column ident: "04L" is not a number, as the cells before it are; pass --text ident'
    assert done.stderr.splitlines()[-1] == f"Error: {told}"
    assert contents(client) == {}
    assert load(text, *options, "--text", "ident", name="-").returncode == 0
    assert client.get_content("parts", "7").content == {"id": "7", "ident": "7"}


def test_delimiter_is_guessed_and_told_or_said(load: Load, client: Client) -> None:
    done = load("id;name\n1;x\n", "--id", "id")
    assert done.stderr.splitlines()[0] == "Guessed delimiter: semicolon; use --delimiter to override it."
    assert contents(client) == {"1": {"id": "1", "name": "x"}}
    assert load("id;name\ty\n1;x\tz\n", "--id", "id;name", "--delimiter", "tab").returncode == 0
    assert load("id\tname\n2\tx\n", "--id", "id", name="parts.tsv").returncode == 0
    assert set(contents(client)) == {"1", "1;x", "2"}
    assert load("id;name\n1;x\n", "--id", "id", "--delimiter", "||").returncode == 2


def test_ragged_rows_and_names_that_are_missing_are_errors_unless_filled(load: Load, client: Client) -> None:
    text = "id,,id\n1,2,3\n4\n5,6,7,8\n"
    assert "line 1, column 2: the header has no name for it" in load(text, "--id", "id").stderr
    assert "line 3 has 1 cells, the header 2" in load("id,n\n1,2\n3\n", "--id", "id").stderr
    assert load(text, "--id", "id", "--fill").returncode == 0
    assert contents(client) == {
        "1": {"id": "1", "column_2": 2, "id_3": 3},
        "4": {"id": "4", "column_2": None, "id_3": None},
        "5": {"id": "5", "column_2": 6, "id_3": 7, "column_4": "8"},
    }


def test_options_of_csv_are_refused_for_json(load: Load) -> None:
    done = load("[]", "--id", "id", "--text", "a", "--fill", name="parts.json")
    assert done.returncode == 2
    assert "--text, --fill: only for CSV" in done.stderr


@pytest.mark.parametrize(("name", "text"), [("a.csv", "n\nx\ny\n"), ("a.ndjson", '{"n": "x"}\n{"n": "y"}\n')])
def test_numbered_records_keep_the_order_of_the_file(load: Load, client: Client, name: str, text: str) -> None:
    assert load(text, "--id-row", name=name).returncode == 0
    found = client.get_merged("parts", order_by="record.position desc")
    assert [(each.record_id, each.content["n"]) for each in found] == [("2", "y"), ("1", "x")]
    assert client.get_content("parts", "2").position == 2


def test_different_values_get_different_ids(load: Load, client: Client) -> None:
    names = ["C", "C++", "C#", "c--", "काली", "कुल", "कल", "Straße", "Strasse", "!", "?"]
    lines = "".join(json.dumps({"name": name}) + "\n" for name in names)
    assert load(lines, "--id-from", "name", name="parts.ndjson").returncode == 0
    first = contents(client)
    assert sorted(each["name"] for each in first.values()) == sorted(names)
    assert {"c", "काली", "कुल", "कल"} <= set(first)
    assert load("name,n\n" + "".join(f"{name},1\n" for name in names), "--id-from", "name").returncode == 0
    assert set(contents(client)) == set(first)


def _broken(name: str) -> tuple[str, str]:
    """A file whose 700th record is refused by the service, and its place."""
    rows = [{"id": f"é{number}", "n": number} for number in range(1, 1001)]
    if name == "a.csv":
        return "id,n\n" + "".join(f'"{row["id"]}",{row["n"]}\n' for row in rows), "line 701, column n"
    if name == "a.ndjson":
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        offset = sum(len(line.encode()) for line in lines[:699])
        return "".join(lines), f"line 700, byte {offset}, field n"
    return json.dumps(rows), "record 700 (index 699), field n"


@pytest.mark.parametrize("name", ["a.csv", "a.ndjson", "a.json"])
def test_refusal_of_the_service_names_place_and_field(load: Load, client: Client, name: str) -> None:
    client.put_collection("parts", json_schema={"properties": {"n": {"maximum": 699}}})
    text, place = _broken(name)
    done = load(text, "--id", "id", name=name)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"Error: {place}: record 'é700': breaks the collection's JSON Schema"
    )
    assert "chunk" not in done.stderr


def test_cell_that_a_declared_field_refuses_is_named_by_its_column(load: Load, client: Client) -> None:
    client.put_collection("parts", fields=[DeclaredField("/due", "date", on_type_mismatch="refuse")])
    done = load("id,due\na,2026-11-20\nb,soon\n", "--id", "id", "--text", "due")
    assert done.stderr.splitlines()[-1].startswith("Error: line 3, column due: "), done.stderr
    done = load('{"id": "a"}\n{"id": "b", "due": 7}\n', "--id", "id", name="a.ndjson")
    assert done.stderr.splitlines()[-1].startswith("Error: line 2, byte 12, field due: "), done.stderr


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        ("id,n\na,1\n" + "i" * 129 + ",2\n", "a.csv", "line 3, column id: "),
        ("id,n\na,1\nb,x\0y\n", "a.csv", "line 3, column n: text must not hold U+0000"),
        ('id,n\na,"1\n2"\nb,\na,2\n', "a.csv", "line 5: record 'a' appears twice in the import, first at "),
        ('{"id": "a"}\n{"id": "b", "t": ["\\u0000"]}\n', "a.ndjson", "line 2, byte 12, field /t/0: text must not hold"),
        ('{"id": "a"}\n{"id": "b", "t": "\\ud800"}\n', "a.ndjson", "line 2, byte 12, field /t: a string contains the"),
        ('[{"id": "a"}, {"id": "a"}]', "a.json", "record 2 (index 1): record 'a' appears twice in the import, first at "
                                                 "record 1 (index 0)"),
        (f'[{{"id": "a"}}, {{"id": "b", "t": "{"x" * (1 << 24)}"}}]', "a.json", "record 2 (index 1): the record has"),
        ("id,n\na,1\n,\n", "a.csv", "line 3, column id: must contain the id"),
        ('[{"id": "a"}, {"id": [1]}]', "a.json", "record 2 (index 1), field id: must contain the id"),
        ('[{"id": "a"}, {"n": 1e1001, "id": "b"}]', "a.json", "record 2 (index 1), field n: numbers must have at most"),
    ],
    ids=lambda value: value[:20],
)  # fmt: skip
def test_dirty_record_is_refused_with_place_and_field(load: Load, text: str, name: str, told: str) -> None:
    done = load(text, "--id", "id", name=name)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"Error: {told}"), done.stderr
    assert "Traceback" not in done.stderr


def test_films_are_the_same_from_csv(load: Load, client: Client, films: Path, tmp_path: Path) -> None:
    rows = json.loads(films.read_text(), parse_float=Decimal)
    with (tmp_path / "films.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";", lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)
    text = "\ufeff" + (tmp_path / "films.csv").read_bytes().decode()
    options = ("--id-from", "Title", "--id-from", "Release Date")
    assert load(films.read_text(), *options, name="films.json").returncode == 0
    done = load(text, *options)
    assert "3,201 inserted" not in done.stdout
    assert "Worldwide Gross: number" in done.stderr
    titles_of_digits = sum(isinstance(row["Title"], int) for row in rows)
    assert f"0 inserted, {titles_of_digits} updated, {3201 - titles_of_digits:,} unchanged" in done.stdout
