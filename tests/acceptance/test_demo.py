"""The walk through every call, as far as that it runs and leaves nothing behind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from draftline import Client
from draftline_server.demo import walkthrough as demo
from draftline_server.demo.steps import Step, films
from draftline_server.rpc.server import SERVICES
from support.server_process import draftline

DRAMAS = 789
TITANIC = "titanic-dec-19-1997"


@pytest.fixture(scope="module")
def outcomes(server_address: str) -> Iterator[dict[str, Any]]:
    """Run the demo and yield the result of each step by the name of its function."""
    tenant = "demo-of-the-tests"
    with (
        Client(server_address, tenant_id=tenant, user="ada") as ada,
        Client(server_address, tenant_id=tenant, user="bob") as bob,
    ):
        clients = {"client": ada, "ada": ada, "bob": bob}
        yield {step.run.__name__: step.outcome(clients) for step in demo.STEPS}


def test_demo_takes_every_step_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before = set(Path(tempfile.gettempdir()).glob("draftline-demo-*"))
    done = draftline("demo", data_dir=tmp_path / "unused", port=1)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(demo.STEPS)} of {len(demo.STEPS)}" in done.stdout
    assert "3,201" in done.stdout
    assert set(Path(tempfile.gettempdir()).glob("draftline-demo-*")) == before
    assert not (tmp_path / "unused").exists()


def test_demo_of_a_sync_takes_every_step_and_leaves_nothing_behind() -> None:
    """Send a commit, merge an edit, hold and decide a conflict, and retry a refused record."""
    before = set(Path(tempfile.gettempdir()).glob("draftline-demo-*"))
    done = draftline("demo", "--sync")
    assert (done.returncode, done.stderr) == (0, "")
    assert "merged, and sent: here" in done.stdout
    assert "/rate was 3, is 5 here and 7 there" in done.stdout
    assert "4 of 4" in done.stdout
    assert "Done: 4 steps" in done.stdout
    assert set(Path(tempfile.gettempdir()).glob("draftline-demo-*")) == before


def test_demo_covers_every_rpc() -> None:
    assert {step.rpc for step in demo.STEPS} == {method.name for service in SERVICES for method in service.methods}


@pytest.mark.parametrize("step", demo.STEPS, ids=lambda step: step.run.__name__)
def test_demo_shows_the_call_that_it_makes(step: Step) -> None:
    compile(step.code, step.run.__name__, "exec")
    assert any(f"{user}.{step.method}(" in step.code for user in ("client", "ada", "bob"))


def test_demo_moves_a_film_into_the_list_of_its_drafter_alone(outcomes: dict[str, Any]) -> None:
    ada, bob = outcomes["dramas_of_ada"], outcomes["dramas_of_bob"]
    assert (ada.total_size, bob.total_size) == (DRAMAS + 1, DRAMAS)
    assert ada.records[0].record_id == TITANIC
    assert [each.record_id for each in ada.records[1:]] == [each.record_id for each in bob.records[:3]]
    grosses = [each.content["Worldwide Gross"] for each in ada.records]
    assert grosses == sorted(grosses, reverse=True)


def test_demo_merges_what_agrees_and_tells_what_does_not(outcomes: dict[str, Any]) -> None:
    (seen,) = outcomes["conflict_seen"]
    assert seen.content == {"Major Genre": "Drama", "IMDB Rating": 7.9, "Tags": ["ship", "iceberg"]}
    assert [each.path for each in outcomes["commit_rejected"].conflicts] == ["/Major Genre"]
    (mine,), (theirs,) = outcomes["keep_mine"], outcomes["keep_theirs"]
    assert mine.record.content == seen.content
    assert theirs.record.content == {"Major Genre": "Thriller/Suspense", "MPAA Rating": "PG-13"}


def test_demo_previews_what_is_not_written(outcomes: dict[str, Any]) -> None:
    assert outcomes["preview"][0].changed_fields == ("Major Genre", "Tags")
    assert outcomes["commit_of_bob"][0].record.version == outcomes["preview"][0].record.version


def test_demo_ends_without_drafts(outcomes: dict[str, Any], server_address: str) -> None:
    with Client(server_address, tenant_id="demo-of-the-tests", user="ada") as ada:
        assert list(ada.get_merged("movies", view="drafts_only")) == []
    assert dict(outcomes["stream"])["Drama"] == DRAMAS + 1


def test_films_have_ids_of_their_own() -> None:
    ids = [record_id for record_id, _ in films()]
    assert len(set(ids)) == len(ids) == 3201
    assert max(map(len, ids)) <= 128
