"""Hundreds of cuts between the service and PostgreSQL: calls that are repeated until they are answered happen once."""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import grpc
from support.draft_calls import edit
from support.idempotent_calls import Caller, stored
from support.mutating_calls import (
    batch,
    committing,
    creating,
    deleting,
    importing,
    increment,
    patching,
    saving,
    undeleting,
    with_id,
)
from support.responses import content_of
from support.servers import serving
from support.soak_scale import length
from support.tcp_proxy import Fate, Judge, Way, before_postgres

CUTS = length("CUTS", 40, soak=400)
CUT_ONE_IN = 25  # pieces of what is sent
PATCHERS = 4  # of one record

Work = Callable[[Caller, int], tuple[str, Any]]  # the method and the request of a user's nth call


def _draft_or_commit(caller: Caller, number: int) -> tuple[str, Any]:
    if number % 2:
        return "Commit", committing(caller, record_ids=["committed"])
    return "SaveDraft", saving(caller, edits=[edit("committed", **increment())])


def _delete_or_undelete(caller: Caller, number: int) -> tuple[str, Any]:
    return ("UndeleteContent", undeleting(caller)) if number % 2 else ("DeleteContent", deleting(caller))


WORKS: dict[str, Work] = {
    "patch": lambda caller, _: ("PatchContent", patching(caller, "patched", **increment())),
    "batch": lambda caller, _: ("BatchPatchContent", batch(caller, {"two": increment(), "one": increment()})),
    "create": lambda caller, _: ("CreateContent", creating(caller, record_id="")),
    "import": lambda caller, number: ("ImportContent", importing(caller, [{"imported": {"n": number}}])),
    "draft": lambda caller, _: ("SaveDraft", saving(caller, edits=[edit("drafted", **increment())])),
    "commit": _draft_or_commit,
    "delete": _delete_or_undelete,
}


def at_random(seed: int) -> Judge:
    """Cuts before a piece arrives or after it, whichever way it goes."""
    chance = random.Random(seed)

    def judge(_: Way, __: bytes) -> Fate:
        return chance.choice((Fate.CUT, Fate.CUT_AFTER)) if chance.randrange(CUT_ONE_IN) == 0 else Fate.PASS

    return judge


def until_answered(caller: Caller, method: str, request: Any) -> Any:
    """Repeats a call with its id for as long as the database is out of reach."""
    repeated = with_id(request, str(uuid.uuid4()))
    while True:
        try:
            return caller.send(method, repeated)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise


def test_every_call_happens_once_however_often_the_database_is_lost(
    database_url: str, report: Callable[[str], None]
) -> None:
    answers: dict[str, list[Any]] = defaultdict(list)
    with (
        before_postgres(database_url) as (proxy, url),
        serving(url) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        caller = Caller(channel, "acme")
        for name in ("a", "patched", "one", "two", "drafted", "committed"):
            caller.records.create(name, {"n": 0})

        def work(name: str) -> None:
            for number in count():
                if proxy.cuts >= CUTS:
                    return
                answers[name].append(until_answered(caller, *WORKS[name](caller, number)))

        seed = random.randrange(2**32)
        print(f"seed {seed}")
        proxy.judge = at_random(seed)
        with ThreadPoolExecutor(len(WORKS) + PATCHERS - 1) as users:
            list(users.map(work, [*WORKS, *["patch"] * (PATCHERS - 1)]))

    rows = stored(database_url, caller)
    found = {row["record_id"]: row for row in rows["record"]}
    calls = {name: len(given) for name, given in answers.items()}
    commits = answers["commit"][1::2]
    report(f"{proxy.cuts} cuts, {sum(calls.values())} calls, each done once: {calls}")

    def counted(name: str, given: list[Any]) -> None:
        """Every increment of a record was made once, and was answered with what it made."""
        assert sorted(given) == list(range(1, len(given) + 1))
        assert (found[name]["content"]["n"], found[name]["version"]) == (len(given), len(given) + 1)

    counted("patched", [content_of(answer.record)["n"] for answer in answers["patch"]])
    for place, name in enumerate(("two", "one")):
        counted(name, [content_of(answer.results[place].record)["n"] for answer in answers["batch"]])
    counted("committed", [answer.results[0].record.version - 1 for answer in commits])
    made = {answer.record.record_id for answer in answers["create"]}
    assert len(made) == calls["create"]
    assert made == {name for name in found if len(name) == 36}
    assert [answer.inserted_count + answer.updated_count for answer in answers["import"]] == [1] * calls["import"]
    assert (found["imported"]["version"], found["imported"]["content"]) == (calls["import"], {"n": calls["import"] - 1})
    drafts = {row["record_id"]: row for row in rows["draft"]}
    assert [answer.results[0].record.draft_version for answer in answers["draft"]] == [*range(1, calls["draft"] + 1)]
    assert (drafts["drafted"]["version"], drafts["drafted"]["merged"]) == (calls["draft"], {"n": calls["draft"]})
    assert found["a"]["version"] == 1 + calls["delete"]
    logged = defaultdict(list)
    for row in rows["change"]:
        if row["kind"] != "DRAFT":
            logged[row["record_id"]].append(row["version"])
    assert {name: sorted(versions) for name, versions in logged.items()} == {
        name: list(range(1, row["version"] + 1)) for name, row in found.items()
    }
    assert len(rows["request"]) == sum(calls.values())
