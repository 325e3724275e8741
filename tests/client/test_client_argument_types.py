"""Each argument of each method has its type examined before anything is sent, by an error that names it."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import draftline
import pytest
from draftline import AsyncClient, DraftEdit, Patch, Retry
from support.both_clients import Connect

# Nothing listens there: a call that is sent fails with UnavailableError.
ADDRESS = "127.0.0.1:1"
NO_RETRY = Retry(max_attempts=1)

VALID: dict[str, Any] = {
    "collection": "m", "record_id": "1", "record_ids": ["1"], "content": {}, "filter": "a = 1", "records": [],
    "patches": [Patch("1", {})], "edits": [DraftEdit("1", {})], "change": ("m", "1", 1), "upstream": "u",
    "endpoint": "e", "collections": ["m"], "run": "push", "commit_id": "c", "remote_id": "r", "tenant_id": "acme",
    "measures": ["count"], "group_by": [],
}  # fmt: skip
ALSO: dict[str, dict[str, Any]] = {
    "commit": {"all": True}, "discard": {"all": True}, "save_draft": {"delta": {}},
    "get_sync_status": {"upstream": "u"}, "revert": {"change": ("m", "1", 1)},
}  # fmt: skip
# Parameters whose errors name something else; test_client_arguments.py has them.
OTHERS = {("revert", "change"), ("collection", "model")}

LISTS = ("abc", b"abc", 1, {"a": 1}, ["\ud800"], [1], [None], [b"a"])
WRONG = {
    "bool": (None, "no", 1),
    "int": ("1", 1.5, True, 2**70),
    "float": ("5", -1, float("nan"), True),
    "Mapping": ("abc", 1, [("a", 1)], {1: 2}, {"a": b""}, {"a": float("nan")}, {"a": "\ud800"}),
    "datetime": ("2026", 1, datetime(2026, 1, 2)),
    "Callable": (1, "print"),
    "Records": (None, 1, "abc", {"1": {}}),
}
METHODS = sorted(
    name for name, method in inspect.getmembers(AsyncClient, callable) if not name.startswith("_") and name != "close"
)


def wrong_values(name: str, annotation: str) -> Iterator[Any]:
    """Return values that a parameter of this annotation must not take."""
    if "Iterable" in annotation or "RecordIds" in annotation:
        values: tuple[Any, ...] = tuple(each for each in LISTS if "Mapping" not in annotation or type(each) is not dict)
        values = tuple(each for each in values if each != {"a": 1} or "RecordIds" not in annotation)
    elif name == "timeout":
        values = ("5", 0, -1, float("nan"), float("inf"), True)
    else:
        kind = next((kind for kind in WRONG if annotation.startswith(kind)), None)
        values = WRONG[kind] if kind else (None, 1, b"x", ["a"], {"a": 1}, "\ud800")
    return (each for each in values if each is not None or "None" not in annotation)


async def use(client: Any, method: str, arguments: dict[str, Any]) -> None:
    """Call a method, and read the first item of what it returns."""
    result = getattr(client, method)(**arguments)
    if inspect.isawaitable(result):
        result = await result
    if isinstance(result, Iterator):
        await asyncio.to_thread(next, result, None)
    elif hasattr(result, "__aiter__") and not hasattr(result, "ready"):
        async for _ in result:
            break


@pytest.mark.parametrize("method", METHODS)
async def test_each_argument_of_wrong_type_is_named_before_the_call(connect: Connect, method: str) -> None:
    """A value that is accepted is sent, which fails with UnavailableError, and with that the test."""
    parameters = list(inspect.signature(getattr(AsyncClient, method)).parameters.values())[1:]
    required = {each.name: VALID.get(each.name, dict) for each in parameters if each.default is each.empty}
    async with connect(ADDRESS, tenant_id="acme", retry=NO_RETRY) as client:
        for each in parameters:
            if (method, each.name) in OTHERS:
                continue
            for value in wrong_values(each.name, str(each.annotation)):
                others = ALSO.get(method, {}) if each.name not in {"session_id", "record_ids", "commit_id"} else {}
                given = {**required, **others, each.name: value}
                with pytest.raises((TypeError, ValueError), match=rf"\b{each.name}\b"):
                    await use(client, method, given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"conflict_policy": "keep-mine"}, "did you mean 'keep_mine'"),
        ({"conflict_policy": "REJECT"}, "did you mean 'reject'"),
        ({"conflict_policy": "both"}, "conflict_policy: 'both' is not .*use one of 'reject'"),
        ({"record_ids": b"m-1"}, "record_ids must be .*a list"),
        ({"record_ids": {"m-1": "3"}}, r"record_ids\['m-1'\] must be an integer or None"),
        ({"record_ids": "m-1"}, r"write \['m-1'\]"),
    ],
    ids=["hyphen", "capitals", "unknown", "bytes", "version", "text"],
)
async def test_near_miss_gets_a_suggestion(connect: Connect, arguments: dict[str, Any], message: str) -> None:
    options = {"all": True} if "record_ids" not in arguments else {}
    async with connect(ADDRESS, tenant_id="acme", retry=NO_RETRY) as client:
        with pytest.raises((TypeError, ValueError), match=message):
            await client.commit("m", **options, **arguments)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(("", "1"), "collection"), (("m", ""), "record_id")],
    ids=["collection", "record_id"],
)
async def test_empty_id_is_rejected(connect: Connect, arguments: tuple[str, str], name: str) -> None:
    async with connect(ADDRESS, tenant_id="acme", retry=NO_RETRY) as client:
        for call in (client.get_content, client.patch_content, client.delete_content, client.save_draft):
            with pytest.raises(ValueError, match=f"{name} must not be empty"):
                await call(*arguments)
        with pytest.raises(ValueError, match="record_id must not be empty; None generates one"):
            await client.create_content("m", {}, record_id="")


async def test_content_that_contains_itself_or_is_too_deep_is_rejected(connect: Connect) -> None:
    itself: dict[str, Any] = {}
    itself["a"] = itself
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    async with connect(ADDRESS, tenant_id="acme", retry=NO_RETRY) as client:
        for value in (itself, {"a": deep}):
            with pytest.raises(ValueError, match=r"content at .*levels deep"):
                await client.create_content("m", value)
        with pytest.raises(TypeError, match="record_id must be a string, not the list"):
            await client.get_content("m", deep)
    while deep:  # the destructor of a deep list recurses
        deep = deep[0]


async def test_iterators_are_read_once_and_sent_whole(connect: Connect) -> None:
    async with connect(ADDRESS, tenant_id="acme", retry=NO_RETRY) as client:
        with pytest.raises(TypeError, match=r"record_ids\[1\] must be a string, not the int 7"):
            await client.batch_get_content("m", iter(["1", 7]))
        patch = Patch("1", operations=iter([draftline.op.add("/a", 1), 3]))  # type: ignore[list-item]
        with pytest.raises(TypeError, match=r"patches\[0\].operations\[1\] must be a dict"):
            await client.batch_patch_content("m", [patch])


async def test_coroutine_as_an_argument_is_named(connect: Connect) -> None:
    async def record_id() -> str:
        return "1"

    coroutine = record_id()
    async with connect(ADDRESS, tenant_id="acme", retry=NO_RETRY) as client:
        with pytest.raises(TypeError, match=r"record_id must be a string, not the coroutine .*await it first"):
            await client.get_content("m", coroutine)
    coroutine.close()


async def test_wrong_edits_of_a_session_are_rejected_before_it_changes(connect: Connect) -> None:
    async with connect(ADDRESS, tenant_id="acme", retry=NO_RETRY) as client:
        async with client.session("m") as session:
            for edits in ("abc", [("1", {})], [DraftEdit(["1"], {})], None):  # type: ignore[arg-type]
                with pytest.raises(TypeError, match=r"edits|record_id"):
                    await session.save(edits)
        assert not session.results  # nothing was committed, which would have failed


async def test_async_client_in_another_event_loop_raises_a_sentence() -> None:
    async with AsyncClient(ADDRESS, tenant_id="acme", retry=NO_RETRY) as client:
        with pytest.raises(draftline.UnavailableError):
            await client.get_content("m", "1")
        errors: list[BaseException] = []

        def other_loop() -> None:
            try:
                asyncio.run(client.get_content("m", "1"))
            except RuntimeError as error:
                errors.append(error)

        thread = threading.Thread(target=other_loop)
        thread.start()
        await asyncio.to_thread(thread.join)
    assert "belongs to another event loop" in str(errors[0])


FORK = f"""
import asyncio, os, draftline
once = draftline.Retry(max_attempts=1)
client = draftline.Client({ADDRESS!r}, tenant_id="acme", retry=once)
unused = draftline.AsyncClient({ADDRESS!r}, tenant_id="acme", retry=once)
used = draftline.AsyncClient({ADDRESS!r}, tenant_id="acme", retry=once)

async def use(client):
    await client.get_content("m", "1")

def raised(call):
    try:
        call()
    except Exception as error:
        return str(error)

raised(lambda: asyncio.run(use(used)))
child = os.fork()
if child == 0:
    advice = "create a client in each process"
    found = [advice in raised(call) for call in (lambda: client.get_content("m", "1"), lambda: asyncio.run(use(used)))]
    os._exit(0 if found == [True, True] else 2)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_client_after_a_fork_raises_a_sentence() -> None:
    assert subprocess.run([sys.executable, "-c", FORK], timeout=60, check=False).returncode == 0
