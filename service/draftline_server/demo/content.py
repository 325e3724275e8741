"""The steps on records and collections: one function each, whose body is shown as it runs."""

from __future__ import annotations

from typing import Any

import draftline
from draftline import Client, DeclaredStatistic, Patch, SortKey, op

from .steps import Step, appending_to, films

STEPS: list[Step] = []
step = appending_to(STEPS)


@step("PutCollection")
def declare(client: Client) -> Any:
    """Declare five fields to filter and sort by, and two orders to index."""
    return client.put_collection(
        "movies",
        fields={
            "/Major Genre": "text",
            "/Source": "text",
            "/Production Budget": "number",
            "/Worldwide Gross": "number",
            "/Release Date": "date",
        },
        orders=[
            [SortKey("/Worldwide Gross", descending=True)],
            ["/Major Genre", SortKey("/Release Date", descending=True)],
        ],
        statistics=[DeclaredStatistic("gross", ("/Major Genre",), ("/Worldwide Gross",))],
    )


@step("ImportContent")
def load(client: Client) -> Any:
    """Load all films in one transaction."""
    return client.import_content("movies", films())


@step("ImportContent")
def load_again(client: Client) -> Any:
    """Load them again. Unchanged films are not written."""
    return client.import_content("movies", films(), mode="snapshot")


@step("GetCollection")
def describe(client: Client) -> Any:
    """Get the collection spec, and the states of its indexes."""
    return client.get_collection("movies")


@step("ListCollections")
def list_all(client: Client) -> Any:
    """List the tenant's collections."""
    return list(client.list_collections())


@step("GetContent")
def get(client: Client) -> Any:
    """Read one film."""
    return client.get_content("movies", "alien-may-25-1979")


@step("BatchGetContent")
def get_several(client: Client) -> Any:
    """Read several films as they were at one moment."""
    return client.batch_get_content("movies", ["alien-may-25-1979", "jaws-jun-20-1975", "none"], allow_missing=True)


@step("PatchContent")
def patch(client: Client) -> Any:
    """Change one field; the others stay as they are. Only `fields` are returned."""
    return client.patch_content(
        "movies",
        "alien-may-25-1979",
        {"Source": "Dan O'Bannon's script"},
        fields=["Source"],
    )


@step("PatchContent")
def patch_nested(client: Client) -> Any:
    """Set an object, by replacing the value of that key (SHALLOW, the default)."""
    return client.patch_content(
        "movies",
        "alien-may-25-1979",
        {"Crew": {"ship": "Nostromo", "cat": "Jones"}},
        fields=["Crew"],
    )


@step("PatchContent")
def patch_deep(client: Client) -> Any:
    """Merge into that object (DEEP): the ship stays."""
    return client.patch_content(
        "movies",
        "alien-may-25-1979",
        {"Crew": {"cat": "Jonesy"}},
        strategy="deep",
        fields=["Crew"],
    )


@step("PatchContent")
def patch_merge(client: Client) -> Any:
    """Delete a key with null (MERGE_PATCH, RFC 7396)."""
    return client.patch_content(
        "movies",
        "alien-may-25-1979",
        {"Crew": {"cat": None}},
        strategy="merge_patch",
        fields=["Crew"],
    )


@step("PatchContent")
def patch_operations(client: Client) -> Any:
    """Apply operations, all or none: count a vote, add tags, rename a key."""
    return client.patch_content(
        "movies",
        "alien-may-25-1979",
        operations=[
            op.increment("/IMDB Votes", 1),
            op.union("/Tags", ["classic", "space"]),
            op.move("/Crew/ship", "/Ship"),
        ],
        fields=["IMDB Votes", "Tags", "Ship"],
    )


@step("PatchContent")
def patch_nothing(client: Client) -> Any:
    """A patch that changes nothing writes nothing: the version stays."""
    return client.patch_content(
        "movies",
        "alien-may-25-1979",
        {"Ship": "Nostromo"},
        fields=["Ship"],
    )


@step("PatchContent", refusal=draftline.VersionMismatchError)
def patch_stale(client: Client) -> Any:
    """Expect a version that is not the current one. The call fails."""
    return client.patch_content(
        "movies",
        "alien-may-25-1979",
        {"Ship": "Sulaco"},
        expected_version=1,
    )


@step("PatchContent", refusal=draftline.ConditionNotMetError)
def patch_condition(client: Client) -> Any:
    """Give a condition on the stored film, checked in the same statement. It is not met, so the call fails."""
    return client.patch_content(
        "movies",
        "alien-may-25-1979",
        {"Ship": "Sulaco"},
        condition='"Major Genre" = "Comedy"',
    )


@step("BatchPatchContent")
def patch_batch(client: Client) -> Any:
    """Change several films at once; with `allow_partial`, each on its own."""
    return client.batch_patch_content(
        "movies",
        [
            Patch("jaws-jun-20-1975", {"Tags": ["classic"]}, fields=["Tags"]),
            Patch("no-such-film", {"Tags": ["classic"]}, fields=["Tags"]),
            Patch(
                "psycho-dec-04-1998",
                operations=[op.increment("/IMDB Votes", 1)],
                fields=["IMDB Votes"],
            ),
        ],
        allow_partial=True,
    )


@step("StreamPatches", by="bulk_writer")
def patch_stream(client: Client) -> Any:
    """Change many films over one stream, without waiting for each of them."""
    with client.bulk_writer() as writer:
        changes = [
            writer.patch("movies", record_id, {"Tags": ["to watch"]}, fields=["Tags"])
            for record_id in ("jaws-jun-20-1975", "alien-may-25-1979")
        ]
    return [change.result() for change in changes]


@step("CreateContent")
def create(client: Client) -> Any:
    """Create a film. Numbers keep all of their digits."""
    return client.create_content(
        "movies",
        {"Title": "Aniara", "Distance km": 123456789012345678901234567890},
        record_id="aniara-2018",
    )


@step("DeleteContent")
def delete(client: Client) -> Any:
    """Delete the film."""
    return client.delete_content("movies", "aniara-2018", fields=["Title"])


@step("GetContent", refusal=draftline.NotFoundError)
def get_deleted(client: Client) -> Any:
    """Read it. A deleted film is not found."""
    return client.get_content("movies", "aniara-2018")


@step("UndeleteContent")
def undelete(client: Client) -> Any:
    """Undelete it."""
    return client.undelete_content("movies", "aniara-2018", fields=["Title"])


@step("PurgeContent")
def purge(client: Client) -> Any:
    """Remove a deleted record permanently. The change log keeps an entry without content."""
    client.create_content("movies", {"Title": "A mistake"}, record_id="mistake")
    client.delete_content("movies", "mistake")
    return client.purge_content("movies", ["mistake"], change_reason="never meant")
