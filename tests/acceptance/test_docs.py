"""Run the examples of docs/ in order, with another address and tenant, and check its tables."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import draftline
import pytest
from alembic.script import ScriptDirectory
from draftline import Client
from draftline.v1 import draft_pb2, error_reason_pb2
from draftline_server.cli import main
from draftline_server.demo.steps import films
from draftline_server.embedded_postgres.process import find_binaries
from draftline_server.ops import revisions
from draftline_server.rpc.status import CODES
from draftline_server.settings import SETTINGS
from support import doc_examples
from support.cli_commands import leaves
from support.doc_examples import GRPCURL, README
from support.server_process import environment
from support.servers import on_database, run_sql

ROOT = Path(__file__).parent.parent.parent
DOCS = {path.name: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
EVERYWHERE = {"README.md": README, "client/README.md": (ROOT / "client" / "README.md").read_text(), **DOCS}
CODE = re.compile(r"^```(python|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ROW = r"^\| {} \|$"


def rows(document: str, *cells: str) -> list[tuple[str, ...]]:
    return [found.groups() for found in re.finditer(ROW.format(r" \| ".join(cells)), DOCS[document], re.MULTILINE)]


@pytest.fixture(scope="module")
def tenant(server_address: str) -> str:
    """One that has the films."""
    name = f"tenant-{uuid.uuid4()}"
    with Client(server_address, tenant_id=name) as client:
        client.put_collection("movies", fields=dict(re.findall(r'--field "(/.*?)=(\w+)"', README)))
        client.import_content("movies", films())
    return name


@pytest.mark.parametrize("document", [name for name, text in DOCS.items() if CODE.search(text)])
def test_code_of_a_document_works_as_it_is_written(
    document: str, server_address: str, tenant: str, tmp_path: Path
) -> None:
    names: dict[str, Any] = {}
    for language, code in CODE.findall(DOCS[document]):
        here = doc_examples.at(code, server_address, **{'"demo"': f'"{tenant}"', "--tenant demo": f"--tenant {tenant}"})
        if language == "python":
            doc_examples.run(here, names)
            continue
        environ = environment(port=server_address.rpartition(":")[2])
        environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", "set -euo pipefail\n" + GRPCURL + here],
            cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{code}\n{done.stderr}"


def test_restore_works_as_documented_and_the_new_database_is_checked(database_url: str, tmp_path: Path) -> None:
    (block,) = re.findall(r"^```text\n(pg_dump .*?)^```", DOCS["operations.md"], re.MULTILINE | re.DOTALL)
    dump, restore, check = block.splitlines()
    binaries = find_binaries()
    if not (binaries / "pg_restore").exists():
        pytest.skip(f"there is no pg_restore in {binaries}")
    name = f"restored_{uuid.uuid4().hex[:8]}"
    new = on_database(database_url, name)
    run_sql(database_url, f"CREATE DATABASE {name}")
    path = f"{Path(sys.executable).parent}:{binaries}:{os.environ['PATH']}"
    environ = {**environment(database_url=database_url), "NEW_DATABASE_URL": new, "PATH": path}

    def run(line: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", f"set -euo pipefail\n{line}"]
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)

    try:
        for line in (dump, restore):
            done = run(line)
            assert done.returncode == 0, done.stderr
        run_sql(database_url, "DROP SCHEMA draftline CASCADE")  # the check must not depend on the old database
        assert run(check).returncode == 0
        run_sql(new, "DROP SCHEMA draftline CASCADE")
        broken = run(check)
        assert (broken.returncode, "was never migrated" in broken.stderr) == (1, True)
    finally:
        run_sql(database_url, f"DROP DATABASE {name} WITH (FORCE)")


def test_code_is_found() -> None:
    told = {name: len(CODE.findall(text)) for name, text in DOCS.items()}
    assert {name for name, count in told.items() if count} >= {
        "bulk.md",
        "changes.md",
        "cli.md",
        "drafts.md",
        "filters.md",
        "merge.md",
        "semantics.md",
    }


OPERATIONS = rows("merge.md", r"`(\{.*?)`", r"`(\{\"op.*?)`", r"(.*?)")


@pytest.mark.parametrize("row", OPERATIONS, ids=[row[1] for row in OPERATIONS])
def test_operations_do_what_the_table_says(row: tuple[str, str, str], server_address: str) -> None:
    content, operation, result = row
    with Client(server_address, tenant_id="docs") as client:
        record_id = uuid.uuid4().hex
        client.create_content("operations", json.loads(content), record_id=record_id)
        try:
            patched = client.patch_content("operations", record_id, operations=[json.loads(operation)])
        except draftline.DraftlineError as error:
            assert error.reason == result  # noqa: PT017  either is told by the table
        else:
            assert patched.record.content == json.loads(result.strip("`"))


def test_every_operation_and_strategy_is_in_its_table() -> None:
    told = {json.loads(operation)["op"] for _, operation, _ in OPERATIONS}
    assert told == {"add", "remove", "replace", "move", "copy", "test", "increment", "union", "subtract"}
    strategies = {row[0] for row in rows("merge.md", r"`([A-Z_]+)`.*?", r"`\{.*?`", r"`\{.*?`")}
    assert strategies == {each.name for each in draftline.MergeStrategy}


FILTERS = rows("filters.md", r"`(.*?)`", r"([\d,]+)")


@pytest.fixture(scope="module")
def films_client(server_address: str, tenant: str) -> Iterator[Client]:
    with Client(server_address, tenant_id=tenant, user="counter") as client:
        yield client


@pytest.mark.parametrize(("text", "count"), FILTERS, ids=[text for text, _ in FILTERS])
def test_filters_find_as_many_films_as_the_table_says(text: str, count: str, films_client: Client) -> None:
    page = films_client.get_merged_page("movies", filter=text, page_size=1, include_total_size=True)
    assert f"{page.total_size:,}" == count


MEANINGS = rows("filters.md", r"`(\{.*?)`", r"`(.+?)`", "(yes|no)")


@pytest.fixture(scope="module")
def meanings_client(server_address: str) -> Iterator[Client]:
    """Yield the client of a tenant with one record for each content of the table."""
    with Client(server_address, tenant_id=f"tenant-{uuid.uuid4()}", user="reader") as client:
        client.put_collection("rows", fields={"/name": "text", "/day": "date", "/at": "timestamp"})
        client.import_content("rows", {content: json.loads(content) for content, _, _ in MEANINGS}.items())
        yield client


@pytest.mark.parametrize(("content", "text", "found"), MEANINGS)
def test_filter_means_what_the_table_says(content: str, text: str, found: str, meanings_client: Client) -> None:
    ids = [each.record_id for each in meanings_client.get_merged("rows", filter=text, record_ids=[content])]
    assert ids == ([content] if found == "yes" else [])
    meanings_client.patch_content("rows", content, {}, condition=text if found == "yes" else f"NOT ({text})")


@pytest.mark.parametrize("name", re.findall(r"`(record\.\w+)`", DOCS["filters.md"]))
def test_attributes_can_be_filtered_by(name: str, films_client: Client) -> None:
    list(films_client.get_merged("movies", filter=f"{name}:*", page_size=1, record_ids=["jaws-jun-20-1975"]))


def test_every_error_reason_is_documented_with_its_code() -> None:
    told = dict(re.findall(r"^\| `ERROR_REASON_(\w+)` \| \d+ \| ([A-Z_]+)\. ", DOCS["contract.md"], re.MULTILINE))
    assert told == {reason: code.name for reason, code in CODES.items()}
    assert len(told) == len(error_reason_pb2.ErrorReason.values()) - 1


def test_every_conflict_kind_is_documented() -> None:
    kinds = {name.removeprefix("CONFLICT_KIND_") for name in draft_pb2.ConflictKind.keys()} - {"UNSPECIFIED"}  # noqa: SIM118
    assert {row[0] for row in rows("drafts.md", r"`([A-Z]+)`", "(.*?)", "(.*?)")} == kinds


def test_every_revision_can_be_gone_back_to_as_documented() -> None:
    script = ScriptDirectory(str(revisions.FOLDER))
    known = [each.revision for each in script.walk_revisions()]
    assert [each[0] for each in rows("upgrading.md", r"`(\w+)`", "(.*?)")] == [*known[1:], "base"]


def test_every_command_is_documented() -> None:
    told = {each[0] for each in rows("cli.md", r"`draftline ([\w -]+?)`", ".*?")}
    assert told == {name for name, _ in leaves(main)}


@pytest.mark.parametrize("document", EVERYWHERE)
def test_nothing_is_told_that_does_not_exist(document: str) -> None:
    """Commands with their options, settings, make targets, reasons and links."""
    text = EVERYWHERE[document]
    commands = dict(leaves(main))
    for name, rest in re.findall(r"`draftline ((?:collections |sync |partitions )?[a-z][\w-]*)([^`]*)`", text):
        if name == "collections":
            continue
        assert name in commands, name
        options = {option for each in commands[name].params for option in each.opts}
        assert set(re.findall(r"--[\w-]+", rest)) <= options | {"--help"}, name + rest
    settings = {name.removeprefix("DRAFTLINE_") for name in SETTINGS} | {"CONFIG", "TOKEN"}
    assert set(re.findall(r"\bDRAFTLINE_([A-Z_]+)\b", text)) <= settings
    folder = (ROOT / document).parent if "/" in document or document == "README.md" else ROOT / "docs"
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text):
        linked = folder / target if target else ROOT / ("docs" if document in DOCS else "") / document
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.read_text()), f"{target}#{anchor}"


def anchors(document: str) -> set[str]:
    """Return the anchors that GitHub makes for the headings."""
    headings = re.findall(r"^#+ (.*)$", document, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
