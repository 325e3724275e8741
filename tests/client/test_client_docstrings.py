"""The examples in the client's docstrings run unchanged against the service."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import draftline
import grpc
import pytest
from draftline import Client, errors, op
from support import doc_examples

PUBLIC = {name: getattr(draftline, name) for name in draftline.__all__ if name != "op"}
BUILDERS = {f"op.{name}": each for name, each in inspect.getmembers(op, inspect.isfunction)}
DOCUMENTED = doc_examples.documented(
    {"draftline": draftline, "draftline.errors": errors, "op": op, **BUILDERS, **PUBLIC}
)
EXAMPLES = {
    f"{name}-{number}": code
    for name, docstring in DOCUMENTED.items()
    for number, code in enumerate(doc_examples.examples(docstring))
}
FILMS = {
    "m-1": {"Title": "Alien", "Votes": 1, "owner": "ada", "Major Genre": "Horror", "cast": {"Ash": "Holm"}},
    "m-2": {"Title": "Jaws", "Votes": 2, "Major Genre": "Drama"},
    "m-4": {"Title": "Shane", "Votes": 4},
}


@pytest.fixture
def client(server_address: str) -> Iterator[Client]:
    """A client whose tenant has the films of the examples."""
    with Client(server_address, tenant_id=f"tenant-{uuid.uuid4()}", user="ada") as made:
        for record_id, film in FILMS.items():  # in a tenth of the statements of an import
            made.create_content("movies", film, record_id=record_id)
        yield made


def names(client: Client) -> dict[str, Any]:
    """Return the names that examples use without defining them."""
    rows = [{"id": "m-8", "Title": "Them"}, {"id": "m-9", "Title": "Cube"}]
    session = SimpleNamespace(access_token="t-1")
    shared = {"client": client, "draftline": draftline, "grpc": grpc, "rows": rows, "session": session}
    return {**PUBLIC, "op": op, **shared}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_of_a_docstring_works(name: str, client: Client, server_address: str) -> None:
    code = doc_examples.at(EXAMPLES[name], server_address, acme=client._tenant(None))
    stage(name, client)
    given = names(client)
    is_watch = "watch" in code and "CachedReader" not in name
    if is_watch or name.startswith("Async"):
        kind = draftline.AsyncClient if name.startswith("Async") else Client
        given["client"] = kind(server_address, tenant_id=client._tenant(None), user="ada")
    if is_watch:
        doc_examples.run_watch(code, given, client)
    elif name.startswith("Async"):
        given["opened"] = given["client"]
        doc_examples.run(f"{code}\nawait opened.close()", given)
    else:
        doc_examples.run(code, given)


def stage(name: str, client: Client) -> None:
    """Write the drafts and changes that some examples need."""
    method = name.removeprefix("Async")
    if method.startswith("Client.commit"):
        client.save_draft("movies", "m-2", {"Votes": 3}, session_id="evening")
        for votes in range(3):
            client.save_draft("movies", "m-1", {"Votes": votes})
    if method.startswith("Client.revert"):
        client.patch_content("movies", "m-1", {"Rating": 1})
        client.save_draft("movies", "m-2", {"Rating": 1})
    if "sync" in method or "link_record" in method:
        client.create_content("parts", {"rate": 1}, record_id="p-1")
        client.put_sync("pems", "pems", ["parts"])
        client.save_draft("parts", "p-1", {"rate": 2})
    if name.startswith("draftline.errors"):
        for votes in range(3):
            client.patch_content("movies", "m-1", {"Votes": 100 + votes})


@pytest.mark.parametrize(
    "name",
    [name for name in DOCUMENTED if name.startswith(("Client.", "AsyncClient.")) and not name.endswith(".close")],
)
def test_every_method_of_the_client_shows_an_example(name: str) -> None:
    assert doc_examples.examples(DOCUMENTED[name])


def test_printed_output_is_compared() -> None:
    with pytest.raises(AssertionError, match="and not where it should: 2"):
        doc_examples.run("print(1)  # 2", {})
