"""The scripts in examples/ do what they say, and again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from draftline import Client
from draftline.v1 import upstream_pb2, upstream_pb2_grpc
from draftline_server.demo.steps import films
from support.server_process import environment, invoked
from support.servers import serving

ROOT = Path(__file__).parent.parent.parent


def run(name: str, address: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, f"examples/{name}", address]
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def address(database_url: str) -> Iterator[str]:
    """A service whose films are as the file has them."""
    with serving(database_url) as server:
        with Client(server.address, tenant_id="demo") as client:
            client.import_content("movies", films())
        yield server.address


def test_example_of_votes_loses_none(address: str) -> None:
    for _ in range(2):
        done = run("votes.py", address)
        assert (done.stderr, done.stdout) == ("", "1000 of 1000 votes, 1000 versions later\n")


def test_example_of_drafts_shows_them_to_their_user_alone(address: str) -> None:
    for _ in range(2):
        done = run("drafts.py", address)
        assert (done.stderr, done.stdout.splitlines()) == (
            "",
            [
                "before:      36 westerns: Dances with Wolves, Hidalgo, Butch Cassidy and the Sundance Kid",
                "ada drafts:  38 westerns: Avatar, Dances with Wolves, Hidalgo",
                "bob sees:    36 westerns: Dances with Wolves, Hidalgo, Butch Cassidy and the Sundance Kid",
                "would write: avatar-dec-18-2009 Major Genre",
                "would write: dances-with-wolves-nov-09-1990 Tags",
                "would write: serenity-2019 Major Genre, Title",
                "discarded:   3 drafts",
            ],
        )


def test_example_of_changes_tells_who_made_them_and_takes_them_back(address: str) -> None:
    for _ in range(2):
        done = run("changes.py", address)
        assert (done.stderr, done.stdout.splitlines()) == (
            "",
            [
                "bob by patch_content: /Genre to Drama, /Rating to 7.6 (I have seen it)",
                "ada by commit: /Genre to Classic (all of them are old)",
                "shane: /Genre would be reverted to Western, but is now Drama",
                "Alien: Horror",
                "Jaws: Horror",
                "Shane: Drama",
            ],
        )


def test_example_of_a_cache_reads_from_memory_what_is_true(address: str) -> None:
    done = run("cache.py", address)
    found = re.fullmatch(
        r"100 votes, and the count never decreased\n(\d+) reads from memory, (\d+) from the service\n", done.stdout
    )
    assert found, (done.stderr, done.stdout)
    assert int(found[1]) > int(found[2])


def test_example_of_a_service_sells_no_seat_twice(address: str) -> None:
    for _ in range(2):
        done = run("service.py", address)
        assert (done.stderr, done.stdout.splitlines()) == (
            "",
            ["40 of 60 buyers got a seat, 0 are free", "40 seats are sold, to 40 buyers"],
        )


def test_example_of_a_form_keeps_what_was_typed(address: str) -> None:
    for _ in range(2):
        done = run("form.py", address)
        assert (done.stderr, done.stdout.splitlines()) == (
            "",
            [
                "bob sees:     Alien",
                "ada is back:  Alien (1979) with unsaved edits",
                "old window:   another is at version 5 of the draft",
                "conflict:     /Rating was 8, is 8.4, would be 9.5",
                "written:      Title Alien (1979), Rating 9.5, Genre Science Fiction",
            ],
        )


def test_example_of_a_bulk_import_writes_what_changed(address: str) -> None:
    done = run("bulk_import.py", address)
    assert (done.stderr, done.stdout.splitlines()) == (
        "",
        [
            "night 0: 10,000 inserted, 0 updated, 0 unchanged, 0 deleted",
            "night 1: 10 inserted, 999 updated, 8,991 unchanged, 10 deleted",
            "night 2: 10 inserted, 999 updated, 8,991 unchanged, 10 deleted",
            "ada sees: {'name': \"Ada's part\", 'price': 32}",
            "a broken file: invalid literal for int() with base 10: 'seven'",
            "still there: 10,000 parts",
        ],
    )


def test_example_of_an_upstream_serves_both_protocols() -> None:
    """The toy system of record returns over HTTP what was written over gRPC."""
    command = [sys.executable, "examples/upstream.py", "--grpc-port", "0", "--http-port", "0", "--fault", "slow=0"]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            started = re.fullmatch(
                r"gRPC on (\S+), HTTP on (\S+)\n", process.stdout.readline() if process.stdout else ""
            )
            assert started
            with grpc.insecure_channel(started[1]) as channel:
                item = upstream_pb2.WriteItem(idempotency_key="k", record_id="r", create={"json": '{"rate": 1}'})
                request = upstream_pb2.WriteRequest(items=[item])
                response = upstream_pb2_grpc.UpstreamServiceStub(channel).Write(request, timeout=60)
            part = json.loads(httpx.get(f"{started[2]}/parts/{response.outcomes[0].applied.remote_id}").text)
        finally:
            process.terminate()
    assert (part["content"], part["reference"], process.returncode) == ({"rate": 1}, "r", 0)


def test_example_of_types_has_the_contract_of_its_spec(address: str) -> None:
    for _ in range(2):
        done = run("typed_films.py", address)
        assert (done.stderr, done.stdout.splitlines()) == (
            "",
            [
                "Alien: profit 194,630,630, tags ['classic']",
                "not in the contract, and kept: ('/Studio',), Fox",
                "in ada's drafts a drama: ['Alien']",
            ],
        )
    check = ("generate", "--collection", "movies", "--tenant", "typed", "--address", address, "--check")
    assert invoked(*check, "--to", str(ROOT / "examples" / "contracts/movies.py")).returncode == 0


def test_every_example_is_run_here() -> None:
    shown = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert set(re.findall(r'(?:run\(|examples/|")(\w+\.py)"', Path(__file__).read_text())) == shown
