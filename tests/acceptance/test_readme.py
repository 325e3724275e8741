"""Run the examples of README.md with another address, and with `buf curl` in place of grpcurl."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from draftline import Client, ConflictError
from draftline_server.rpc.server import SERVICES
from draftline_server.settings import SETTINGS
from draftline_server.settings.problems import range_of
from support.doc_examples import GRPCURL, README
from support.server_process import environment

ROOT = Path(__file__).parent.parent.parent
MERGE, DRAFTS = ((ROOT / "docs" / name).read_text() for name in ("merge.md", "drafts.md"))
SHOWN_ADDRESS = "127.0.0.1:50051"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_quickstart_works_as_it_is_written(server_address: str) -> None:
    shell = "set -euo pipefail\n" + GRPCURL + "\n".join(blocks("bash"))
    done = run(["bash", "-c", shell.replace(SHOWN_ADDRESS, server_address)], server_address)
    assert done.returncode == 0, done.stderr
    for told in (
        "SERVING",
        "3,201 inserted",
        "draftline.v1.ContentService",
        '"Jones"',
        '"IMDB Votes"',
        '"Alien"',
        '"RECORD_STATE_DRAFT"',
        "+1,842,879,955",
        "-1,842,879,955",
    ):
        assert told in done.stdout
    patches, drafts = (
        run([sys.executable, "-c", block.replace(SHOWN_ADDRESS, server_address)], server_address)
        for block in blocks("python")
    )
    assert (patches.stderr, patches.stdout.splitlines()) == (
        "",
        ["1 470700000", "('Tags',) 2", "the current version is 2"],
    )
    assert (drafts.stderr, drafts.stdout.splitlines()) == (
        "",
        [
            "Titanic",
            "ET: The Extra-Terrestrial",
            "/Major Genre is now Romantic Comedy",
            "[('Major Genre',)]",
            "[1, 4]",
        ],
    )


def run(command: list[str], server_address: str) -> subprocess.CompletedProcess[str]:
    port = server_address.rpartition(":")[2]
    return subprocess.run(
        command, cwd=ROOT, env=environment(port=port), capture_output=True, text=True, timeout=120, check=False
    )


def test_make_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", README)) <= targets


def test_settings_table_is_that_of_the_code() -> None:
    shown = re.findall(r"^\| `(DRAFTLINE_\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", README, re.MULTILINE)
    assert shown == [
        (name, _default(setting.info.default), range_of(setting), setting.info.description)
        for name, setting in SETTINGS.items()
    ]


def test_table_of_calls_is_that_of_the_contract() -> None:
    shown = re.findall(r"^\| (?:`\w+Service`)? ?\| `(\w+)` \|", README, re.MULTILINE)
    assert shown == [method.name for service in SERVICES for method in service.methods]


STRATEGY = re.compile(r"^\| `([A-Z_]+)`(.*?) \| `(\{.*?)` \| `(\{.*?)` \|$", re.MULTILINE)
CONFLICT_TABLE = re.compile(r"^\| base \| mine \| theirs \| committed \|\n\| --- .*\n((?:\|.*\n)+)", re.MULTILINE)
CONFLICT = re.compile(r"^\| `(.*?)` \| `(.*?)`(.*?) \| `(.*?)` \| (`.*?`|conflict) \|$", re.MULTILINE)


@pytest.mark.parametrize("row", [*STRATEGY.findall(README), *STRATEGY.findall(MERGE)])
def test_merge_strategies_do_what_the_table_says(row: tuple[str, ...], server_address: str) -> None:
    strategy, more, delta, result = row
    depth = re.search(r"depth (\d+)", more)
    (start,) = set(re.findall(r"The effect of a delta on `(.*?)`", README + MERGE))
    with Client(server_address, tenant_id="readme") as client:
        record_id = uuid.uuid4().hex
        client.create_content("strategies", json.loads(start), record_id=record_id)
        patched = client.patch_content(
            "strategies",
            record_id,
            json.loads(delta),
            strategy=strategy.lower(),
            depth=int(depth[1]) if depth else 0,
        )
    assert patched.record.content == json.loads(result)


def conflicts(document: str) -> list[tuple[str, ...]]:
    """Return the rows of its only table of base, mine, theirs and what is committed."""
    (table,) = CONFLICT_TABLE.findall(document)
    rows: list[tuple[str, ...]] = CONFLICT.findall(table)
    assert len(rows) == table.count("\n"), "a row cannot be read"
    return rows


@pytest.mark.parametrize("row", [*conflicts(README), *conflicts(DRAFTS)])
def test_conflicts_are_what_the_table_says(row: tuple[str, ...], server_address: str) -> None:
    base, mine, how, theirs, committed = row
    draft = {"value": json.loads(mine)}
    before = re.findall(r", drafted after `(.*?)`", how)  # what the same user drafted first
    record_id = uuid.uuid4().hex
    with (
        Client(server_address, tenant_id="readme", user=f"ada-{record_id}") as ada,
        Client(server_address, tenant_id="readme", user="bob") as bob,
    ):
        bob.create_content("conflicts", {"value": json.loads(base)}, record_id=record_id)
        for first in before:
            ada.save_draft("conflicts", record_id, {"value": json.loads(first)})
        if not before:
            ada.save_draft("conflicts", record_id, draft, strategy="deep" if "DEEP" in how else None)
        bob.patch_content("conflicts", record_id, {"value": json.loads(theirs)})
        if before:
            ada.save_draft("conflicts", record_id, draft)
        if committed == "conflict":
            with pytest.raises(ConflictError):
                ada.commit("conflicts", all=True)
        else:
            ada.commit("conflicts", all=True)
            stored = bob.get_content("conflicts", record_id).content["value"]
            assert stored == json.loads(committed.strip("`"))


def test_tables_are_found() -> None:
    assert (len(STRATEGY.findall(README)), len(STRATEGY.findall(MERGE))) == (4, 8)
    assert (len(conflicts(README)), len(conflicts(DRAFTS))) == (4, 7)


def _default(value: object) -> str:
    if value is None or value == "":
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
