"""What README.md shows is run as it stands, but for the address. `buf curl` takes grpcurl's place."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from draftline import Client
from draftline_server.settings import Settings
from served import environment, shown_services

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
SHOWN_ADDRESS = "127.0.0.1:50051"
GRPCURL = f"""
grpcurl() {{
    local data= method=${{@: -1}} address=${{@: -2:1}}
    [ "$2" != -d ] || data=$3
    if [ "$method" = list ]; then
        set -- --list-services "http://$address"
    else
        set -- --data "$data" "http://$address/$method"
    fi
    {shlex.quote(str(Path(sys.executable).with_name("buf")))} curl --protocol grpc --http2-prior-knowledge "$@"
}}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_quickstart_works_as_it_is_written(server_address: str) -> None:
    shell = "set -euo pipefail\n" + GRPCURL + "\n".join(blocks("bash"))
    done = run(["bash", "-c", shell.replace(SHOWN_ADDRESS, server_address)], server_address)
    assert done.returncode == 0, done.stderr
    for told in ("SERVING", "3,201 inserted", "draftline.v1.ContentService", '"Jones"', '"IMDB Votes"'):
        assert told in done.stdout
    for block in blocks("python"):
        done = run([sys.executable, "-c", block.replace(SHOWN_ADDRESS, server_address)], server_address)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "1 470700000",
            "('Tags',) 2",
            "somebody was faster, it is now at 2",
        ]


def run(command: list[str], server_address: str) -> subprocess.CompletedProcess[str]:
    port = server_address.rpartition(":")[2]
    return subprocess.run(
        command, cwd=ROOT, env=environment(port=port), capture_output=True, text=True, timeout=120, check=False
    )


def test_make_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", README.replace("make and nothing", ""))) <= targets


def test_settings_table_is_that_of_the_code() -> None:
    shown = re.findall(r"^\| `DRAFTLINE_(\w+)` \| (.*?) \| (.*?) \|$", README, re.MULTILINE)
    assert shown == [
        (name.upper(), _default(field.default), field.description) for name, field in Settings.model_fields.items()
    ]


def test_table_of_calls_is_that_of_the_contract() -> None:
    shown = re.findall(r"^\| (?:`\w+Service`)? ?\| `(\w+)` \|", README, re.MULTILINE)
    assert shown == [method.name for service in shown_services() for method in service.methods]


@pytest.mark.parametrize("row", re.findall(r"^\| `([A-Z_]+)`(.*?) \| `(\{.*?)` \| `(\{.*?)` \|$", README, re.MULTILINE))
def test_merge_strategies_do_what_the_table_says(row: tuple[str, ...], server_address: str) -> None:
    strategy, more, delta, result = row
    depth = re.search(r"depth (\d+)", more)
    (start,) = re.findall(r"What a delta does to `(.*?)`", README)
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


def _default(value: object) -> str:
    if value is None or value == "":
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def test_example_of_votes_loses_none(server_address: str) -> None:
    for _ in range(2):
        done = run([sys.executable, "examples/votes.py", server_address], server_address)
        assert (done.stderr, done.stdout) == ("", "1000 of 1000 votes, 1000 versions later\n")
