"""`draftline generate`: it writes contracts, compares them, and names records that break them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from draftline import Client
from support.server_process import invoked
from support.servers import RunningServer

Generate = Callable[..., Any]
SCHEMA = {"properties": {"Title": {"type": "string"}}, "required": ["Title"]}


@pytest.fixture
def client(server: RunningServer, tenant_id: str) -> Iterator[Client]:
    with Client(server.address, tenant_id=tenant_id, user="dev") as connected:
        yield connected


@pytest.fixture
def generate(server: RunningServer, tenant_id: str) -> Generate:
    where = ("--address", server.address, "--tenant", tenant_id, "--collection", "films")
    return lambda *arguments: invoked("generate", *where, *map(str, arguments))


def test_changed_spec_fails_the_check(client: Client, generate: Generate, tmp_path: Path) -> None:
    client.put_collection("films", fields={"/Title": "text"}, json_schema=SCHEMA)
    models = tmp_path / "models.py"
    assert generate("--to", models, "--check").returncode == 1
    assert generate("--to", models).returncode == 0
    first = models.read_bytes()
    assert b"class Film:" in first
    assert generate("--to", models).returncode == 0
    assert models.read_bytes() == first
    assert generate("--to", models, "--check").returncode == 0
    client.put_collection("films", fields={"/Title": "text", "/Year": "number"}, json_schema=SCHEMA)
    moved = generate("--to", models, "--check")
    assert (moved.returncode, models.read_bytes()) == (1, first)
    assert "from version 1 of the spec, which is at version 2 now" in moved.stderr
    models.write_bytes(b"\xff\xfe")
    assert f"{models} was edited" in generate("--to", models, "--check").stderr
    assert "--check" in generate("--to", "-", "--kind", "pydantic", "--check").stderr


def test_verify_names_the_records_that_break_the_contract(client: Client, generate: Generate, tmp_path: Path) -> None:
    client.create_content("films", {"Title": 9}, record_id="f-1")
    client.create_content("films", {"Title": "Nine"}, record_id="f-2")
    client.put_collection("films", json_schema=SCHEMA)
    refused = generate("--to", tmp_path / "films.ts", "--verify")
    assert refused.returncode == 1
    assert "f-1: /Title: " in refused.stderr
    assert "1 of 2 records break the contract" in refused.stderr
    assert "f-2" not in refused.stderr
    client.patch_content("films", "f-1", {"Title": "9"})
    assert generate("--to", tmp_path / "films.ts", "--verify").returncode == 0


def test_what_cannot_be_generated_is_said(client: Client, generate: Generate, tmp_path: Path) -> None:
    missing = generate("--to", tmp_path / "films.py")
    assert (missing.returncode, "collections infer films --all --apply" in missing.stderr) == (1, True)
    client.put_collection("films", json_schema=SCHEMA)
    assert generate("--to", tmp_path / "films.txt").returncode == 2
    named = generate("--to", tmp_path / "films.py", "--class-name", "my film")
    assert (named.returncode, "use 'MyFilm'" in named.stderr) == (2, True)
